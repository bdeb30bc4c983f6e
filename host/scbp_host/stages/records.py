"""From acknowledged outcomes to what is known of every candidate. Needs the store alone: no device, no data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.domain.precision import Precision
from scbp_host.measuring.agreement import combined_ratio, pooled_ratio
from scbp_host.measuring.paired import floor_ratio, quantile_ns
from scbp_host.measuring.stability import uncertain
from scbp_host.ranking.chances import binomial_std
from scbp_host.ranking.pareto import Objectives
from scbp_host.search.base import Observation
from scbp_host.stages.ledger import Payload
from scbp_host.store import Outcome

MB = 1e6

BINNING = "binning"
# What each round may train, and why the search ended; see stopping.py.
STOP = "stop"
MEASURE, TRAIN, EXPORT, VERIFY, TEST, PROPOSE = "measure", "train", "export", "verify", "test", "propose"
# Which latency the order of the trained turns on, again and again until none does; see deciding.py.
DECIDE = "decide"
# What share of its time each superblock takes; see profiles.py.
LAYERS = "layers"
# The reference against itself, which shows the device's noise; see reference.py.
SELF_TEST = "self-test"
# Which of a batch were too uncertain, and what measuring them again gave; see repeats.py.
UNCERTAIN = "uncertain"
AGAIN = {MEASURE: "measure-again", VERIFY: "verify-again"}
# A rung's outcome for one candidate, under the subject that rung_subject() gives; and the verdict over a whole rung.
RUNG, HALVING = "rung", "halving"


_REPEATED = {again: stage for stage, again in AGAIN.items()}


def surest(payloads: Iterable[Payload]) -> Measurement:
    """Return the measurement whose ratio is the most certain, the first on a tie.

    Its ratio is that of all measurements which are not uncertain, as far as there are several.
    """
    measurements = [Measurement.from_json(payload["measurement"]) for payload in payloads]
    best = min(measurements, key=lambda own: own.ratio.relative_half_width)
    sure = [own.ratio for own in measurements if not uncertain({"": own.ratio})]
    return replace(best, ratio=combined_ratio(sure)) if len(sure) > 1 else best


def variant_id(structure_id: str, precision: Precision | None) -> str:
    """Name a structure in one of the run's further precisions; None is the run's first, which needs no name."""
    return structure_id if precision is None else f"{structure_id}@{precision}"


@dataclass
class Known:
    """Everything acknowledged about one candidate in one precision.

    Attributes:
        candidate: which.
        first: the same in the run's first precision, where it was measured untrained and trained; None for that itself.
        precision: None is the run's first.
        payloads: results by stage.
        repeats: results of measuring it again, by stage.
        failure: the newest stage's failure, if one failed.
        halved: it lost at a rung and was not trained on.
    """

    candidate: Candidate
    first: Known | None = None
    precision: Precision | None = None
    payloads: dict[str, Payload] = field(default_factory=dict)
    repeats: dict[str, list[Payload]] = field(default_factory=dict)
    failure: Failure | None = None
    halved: bool = False

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
        payloads = self._measured(stage)
        return surest(payloads) if payloads else None

    @property
    def every_ratio(self) -> list[Interval]:
        """The ratios of all measurements of all stages."""
        payloads = [*self._measured(MEASURE), *self._measured(VERIFY)]
        return [Measurement.from_json(payload["measurement"]).ratio for payload in payloads]

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

    def _measured(self, stage: str) -> list[Payload]:
        return [self.payloads[stage], *self.repeats.get(stage, [])] if stage in self.payloads else []


@dataclass(frozen=True)
class Standing:
    """What a run has found so far.

    Attributes:
        seed: the seed.
        candidates: every structure that was measured or trained, or failed, in the order they were proposed.
        variants: trained structures in further precisions, the seed's among them.
        reference_p50_ns: the reference's p50 over its samples in every measurement that counts; every latency is a
            ratio times this.
        seed_ratio: the seed's latency / the reference's, from all measurements of the seed.
        validation_images: of which ``val_top1`` is a share; None where the metric is another one.
    """

    seed: Known
    candidates: tuple[Known, ...]
    variants: tuple[Known, ...]
    reference_p50_ns: float
    seed_ratio: Interval
    validation_images: int | None = None

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Standing:
        """Read a run's acknowledged outcomes; there must be the space's."""
        by_id: dict[str, Known] = {}
        seed, reference_id = None, ""
        for outcome in outcomes:
            if outcome.stage == "space" and outcome.payload:
                seed = Known(Candidate.from_json(outcome.payload["seed"]))
                by_id[seed.candidate.structure_id] = seed
                reference_id = reference_of(outcome.payload).structure_id
            elif outcome.stage == PROPOSE and outcome.payload:
                for data in outcome.payload["candidates"]:
                    by_id.setdefault(data["structure_id"], Known(Candidate.from_json(data)))
            elif outcome.stage in _REPEATED and outcome.payload:
                by_id[outcome.payload["structure_id"]].repeats.setdefault(_REPEATED[outcome.stage], []).append(
                    outcome.payload
                )
            elif outcome.stage == HALVING and outcome.payload:
                for structure_id in outcome.payload["stopped"]:
                    by_id[structure_id].halved = True
            elif structure_id_of(outcome) in by_id:
                known = _about(by_id, outcome)
                known.failure = outcome.failure or known.failure
                if outcome.payload is not None:
                    known.payloads[outcome.stage] = outcome.payload
        assert seed is not None, "a run's first acknowledged stages include its space"
        others = [own for own in by_id.values() if own is not seed and (own.payloads or own.failure)]
        return cls(
            seed,
            tuple(own for own in others if own.precision is None),
            tuple(own for own in others if own.precision is not None),
            _reference_p50_ns(by_id.values()),
            _seed_ratio(seed, reference_id),
            _validation_images(outcomes),
        )

    @property
    def rows(self) -> tuple[Known, ...]:
        """Everything but the seed: the candidates, then the variants."""
        return (*self.candidates, *self.variants)

    @property
    def seed_p50_ns(self) -> float:
        """The seed's p50."""
        return self.seed_ratio.value * self.reference_p50_ns

    def ratio(self, known: Known) -> Interval | None:
        """Return latency / the seed's latency, the uncertainty of both in the interval; the seed's own is 1."""
        if known.measurement is None:
            return None
        return Interval(1.0, 1.0, 1.0) if known is self.seed else known.measurement.ratio.over(self.seed_ratio)

    def latency_ms(self, known: Known) -> Interval | None:
        """Return p50 with its interval: the ratio to the reference times the reference's pooled p50."""
        if known.measurement is None:
            return None
        ratio = self.seed_ratio if known is self.seed else known.measurement.ratio
        return ratio.scaled(self.reference_p50_ns / 1e6)

    def observation(self, known: Known) -> Observation:
        """Return what a search strategy may know."""
        measurement = known.measurement
        if measurement is None:
            return Observation(known.candidate, failed=known.failure is not None, halved=known.halved)
        return Observation(
            known.candidate,
            # How uncertain the seed's latency is moves all candidates alike: between them it says nothing.
            measurement.ratio.scaled(1.0 / self.seed_ratio.value),
            measurement.peak_rss_bytes,
            known.figure("onnx_bytes"),
            known.val_top1,
            known.failure is not None,
            floor_ratio(measurement.candidate_blocks_ns, measurement.reference_blocks_ns),
            known.time_shares,
            halved=known.halved,
        )

    def p99_ms(self, known: Known) -> float | None:
        """Return p99, from the candidate's own samples, on the scale of the pooled p50."""
        measurement = known.measurement
        if measurement is None:
            return None
        own = quantile_ns(measurement.candidate_blocks_ns, 0.99) / quantile_ns(measurement.candidate_blocks_ns, 0.5)
        latency = self.latency_ms(known)
        return None if latency is None else own * latency.value

    def objectives(self, known: Known) -> Objectives | None:
        """Return what a candidate competes on; None unless it was trained and measured to the end."""
        if known.val_top1 is None:
            return None
        images = self.validation_images
        return self._objectives(known, known.val_top1, binomial_std(known.val_top1, images) if images else 0.0)

    def untrained(self, known: Known) -> Objectives | None:
        """Return what is known of a structure as if it were exactly as accurate as it has to be."""
        return self._objectives(known, 1.0)

    def _objectives(self, known: Known, top1: float, top1_std: float = 0.0) -> Objectives | None:
        measurement, latency, size = known.measurement, self.latency_ms(known), known.figure("onnx_bytes")
        if measurement is None or latency is None or size is None:
            return None
        return Objectives(top1, latency, measurement.peak_rss_bytes / MB, size, top1_std)


def _validation_images(outcomes: Sequence[Outcome]) -> int | None:
    data = next((own.payload for own in outcomes if own.stage == "data" and own.payload), None)
    # Runs of older versions have no metric: theirs was this one.
    return int(data["validation"]) if data is not None and data.get("metric", "top-1") == "top-1" else None


def rung_subject(structure_id: str, epochs: int) -> str:
    """Name a rung's outcome for one candidate."""
    return f"{structure_id}@{epochs}"


def structure_id_of(outcome: Outcome) -> str:
    """Return which candidate an outcome is about; of outcomes that are about none, the subject."""
    return outcome.subject.partition("@")[0]


def _about(by_id: dict[str, Known], outcome: Outcome) -> Known:
    """Return whom an outcome is about; further precisions appear with their first one."""
    first = by_id[structure_id_of(outcome)]
    precision = outcome.subject.partition("@")[2]
    if outcome.stage == RUNG or not precision:
        return first
    return by_id.setdefault(outcome.subject, Known(first.candidate, first, Precision(precision)))


def reference_of(space: Payload) -> Candidate:
    """Return what a run pairs every model with; in runs of older versions that is the seed."""
    return Candidate.from_json(space["reference"] if "reference" in space else space["seed"])


def _reference_p50_ns(everyone: Iterable[Known]) -> float:
    samples: list[int] = []
    for known in everyone:
        for stage in (MEASURE, VERIFY):
            measurement = known.measured(stage)
            if measurement is not None:
                samples += [sample for block in measurement.reference_blocks_ns for sample in block]
    return float(np.median(samples)) if samples else float("nan")


def _seed_ratio(seed: Known, reference_id: str) -> Interval:
    ratios = seed.every_ratio
    if seed.candidate.structure_id == reference_id or not ratios:
        return Interval(1.0, 1.0, 1.0)
    return pooled_ratio(ratios)
