"""Everything acknowledged about one candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.domain.precision import Precision
from scbp_host.measuring.agreement import combined_ratio
from scbp_host.measuring.stability import uncertain
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import AGAIN, EXPORT, LAYERS, MEASURE, RUNG, TEST, TRAIN, VERIFY, variant_id


def measurement_in(payload: Payload) -> Measurement:
    """Read the measurement that a stage acknowledged."""
    return Measurement.from_json(payload["measurement"])


def surest(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement whose ratio is the most certain, the first on a tie.

    Its ratio is that of all measurements which are not uncertain, as far as there are several.
    """
    best = min(measurements, key=lambda own: own.ratio.relative_half_width)
    sure = [own.ratio for own in measurements if not uncertain({"": own.ratio})]
    return replace(best, ratio=combined_ratio(sure)) if len(sure) > 1 else best


@dataclass
class Known:
    """Everything acknowledged about one candidate in one precision.

    Attributes:
        candidate: which.
        first: the same in the run's first precision, where it was measured untrained and trained; None for that itself.
        precision: None is the run's first.
        payloads: results by stage; what is in them goes through :meth:`learn`.
        measurements: by stage, the first and then those of measuring it again.
        failure: the newest stage's failure, if one failed.
        halved: it lost at a rung and was not trained on.
    """

    candidate: Candidate
    first: Known | None = None
    precision: Precision | None = None
    payloads: dict[str, Payload] = field(default_factory=dict)
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    failure: Failure | None = None
    halved: bool = False

    def learn(self, stage: str, payload: Payload) -> None:
        """Add one stage's result; what it measured is read here, once, since its raw samples are many."""
        self.payloads[stage] = payload
        if stage in AGAIN:
            self.measurements[stage] = [measurement_in(payload)]

    def learn_again(self, stage: str, payload: Payload) -> None:
        """Add what measuring it again gave; ``stage`` measured it first."""
        self.measurements[stage].append(measurement_in(payload))

    @property
    def id(self) -> str:
        """The structure's id, and the precision where it is not the run's first."""
        return variant_id(self.candidate.structure_id, self.precision)

    @property
    def trained(self) -> Payload:
        """The result of its training, which all precisions share."""
        return (self.first or self).payloads[TRAIN]

    @property
    def in_float(self) -> tuple[str, ...]:
        """Layers that stay in float32 although the network has eight bits."""
        return tuple(self.payloads.get(EXPORT, {}).get("in_float", ()))

    @property
    def measurement(self) -> Measurement | None:
        """What the latest stage's measurements came to: with real weights where there is one."""
        return self.measured(VERIFY) or self.measured(MEASURE)

    def measured(self, stage: str) -> Measurement | None:
        """What one stage's measurements came to; see :func:`surest`."""
        measurements = self.measurements.get(stage)
        return surest(measurements) if measurements else None

    @property
    def every_ratio(self) -> list[Interval]:
        """The ratios of all measurements of all stages."""
        return [own.ratio for stage in AGAIN for own in self.measurements.get(stage, ())]

    @property
    def time_shares(self) -> tuple[float, ...] | None:
        """Each superblock's share of the time, and the head's; None where its layers were not timed."""
        shares = self.payloads.get(LAYERS, {}).get("shares")
        return None if shares is None else tuple(shares)

    def figure(self, name: str) -> int | None:
        """Return ``params``, ``macs`` or ``onnx_bytes``: of the export where there is one, else of the structure."""
        payload = self.payloads.get(EXPORT) or self.payloads.get(MEASURE)
        return None if payload is None else int(payload[name])

    @property
    def val_top1(self) -> float | None:
        """Validation accuracy, computed from the device's outputs; None until they are there."""
        return float(self.payloads[VERIFY]["val_top1"]) if VERIFY in self.payloads else None

    @property
    def test_top1(self) -> float | None:
        """Test accuracy, computed from the device's outputs; only the seed and the named best have one."""
        return float(self.payloads[TEST]["test_top1"]) if TEST in self.payloads else None

    @property
    def status(self) -> str:
        """``trained`` (to the end), ``failed``, ``halved`` or ``measured``."""
        if VERIFY in self.payloads:
            return "trained"
        if self.failure:
            return "failed"
        return "halved" if self.halved else "measured"

    @property
    def rung(self) -> tuple[int, float] | None:
        """Epochs at the last rung it came to, and the host's validation accuracy there."""
        payload = self.payloads.get(RUNG)
        return None if payload is None else (int(payload["epochs"]), float(payload["val_top1"]))
