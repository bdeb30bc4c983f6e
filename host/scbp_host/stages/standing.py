"""What a run has found so far, from its acknowledged outcomes. Needs the store alone: no device, no data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval
from scbp_host.domain.precision import Precision
from scbp_host.domain.resources import resources_of
from scbp_host.measuring.agreement import pooled_ratio
from scbp_host.measuring.paired import floor_ratio, quantile_ns
from scbp_host.ranking.chances import binomial_std
from scbp_host.ranking.pareto import Objectives
from scbp_host.search.base import Observation
from scbp_host.stages.known import Known
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import AGAIN, HALVING, MEASURE, PROPOSE, RUNG, VERIFY, structure_id_of
from scbp_host.store import Outcome

_REPEATED = {again: stage for stage, again in AGAIN.items()}


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
        everyone = _Everyone(outcomes)
        seed = everyone.seed
        assert seed is not None, "a run's first acknowledged stages include its space"
        others = [own for own in everyone.by_id.values() if own is not seed and (own.payloads or own.failure)]
        return cls(
            seed,
            tuple(own for own in others if own.precision is None),
            tuple(own for own in others if own.precision is not None),
            _reference_p50_ns(everyone.by_id.values()),
            _seed_ratio(seed, everyone.reference_id),
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
            resources_of(measurement),
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
        return Objectives(top1, latency, resources_of(measurement), size, top1_std)


class _Everyone:
    """Everybody that a run's outcomes are about.

    Attributes:
        by_id: in the order they first appeared.
        seed: None as long as there is no space.
        reference_id: what every model is paired with.
    """

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.by_id: dict[str, Known] = {}
        self.seed: Known | None = None
        self.reference_id = ""
        of_several = {"space": self._space, PROPOSE: self._proposed, HALVING: self._halved}
        for outcome in outcomes:
            if outcome.stage in of_several:
                of_several[outcome.stage](outcome.payload or {})
            elif outcome.stage in _REPEATED:
                self._repeated(_REPEATED[outcome.stage], outcome.payload)
            elif structure_id_of(outcome) in self.by_id:
                self._about_one(outcome)

    def _space(self, payload: Payload) -> None:
        if payload:
            self.seed = Known(Candidate.from_json(payload["seed"]))
            self.by_id[self.seed.id] = self.seed
            self.reference_id = reference_of(payload).structure_id

    def _proposed(self, payload: Payload) -> None:
        for data in payload.get("candidates", ()):
            self.by_id.setdefault(data["structure_id"], Known(Candidate.from_json(data)))

    def _halved(self, payload: Payload) -> None:
        for structure_id in payload.get("stopped", ()):
            self.by_id[structure_id].halved = True

    def _repeated(self, stage: str, payload: Payload | None) -> None:
        # After a failure the earlier measurements stand.
        if payload is not None:
            self.by_id[payload["structure_id"]].learn_again(stage, payload)

    def _about_one(self, outcome: Outcome) -> None:
        known = self._whom(outcome)
        known.failure = outcome.failure or known.failure
        if outcome.payload is not None:
            known.learn(outcome.stage, outcome.payload)

    def _whom(self, outcome: Outcome) -> Known:
        """Return whom an outcome is about; further precisions appear with their first one."""
        first = self.by_id[structure_id_of(outcome)]
        precision = outcome.subject.partition("@")[2]
        if outcome.stage == RUNG or not precision:
            return first
        return self.by_id.setdefault(outcome.subject, Known(first.candidate, first, Precision(precision)))


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


def _validation_images(outcomes: Sequence[Outcome]) -> int | None:
    data = next((own.payload for own in outcomes if own.stage == "data" and own.payload), None)
    # Runs of older versions have no metric: theirs was this one.
    return int(data["validation"]) if data is not None and data.get("metric", "top-1") == "top-1" else None
