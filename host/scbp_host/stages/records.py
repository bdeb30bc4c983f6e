"""From acknowledged outcomes to what is known of every candidate. Needs the store alone: no device, no data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.measuring.paired import quantile_ns
from scbp_host.ranking.budgets import Budgets, Verdict, choose_best, misses
from scbp_host.ranking.pareto import Objectives, pareto_front
from scbp_host.search.base import Observation
from scbp_host.stages.ledger import Payload
from scbp_host.store import Outcome

MB = 1e6

BINNING = "binning"
MEASURE, TRAIN, EXPORT, VERIFY, TEST, PROPOSE = "measure", "train", "export", "verify", "test", "propose"
# Which of a batch were disturbed, and what measuring them again gave; see repeats.py.
DISTURBED = "disturbed"
AGAIN = {MEASURE: "measure-again", VERIFY: "verify-again"}
# A rung's outcome for one candidate, under the subject that rung_subject() gives; and the verdict over a whole rung.
RUNG, HALVING = "rung", "halving"


_REPEATED = {again: stage for stage, again in AGAIN.items()}


def quietest(payloads: Iterable[Payload]) -> Measurement:
    """Return the measurement during which the reference's quick runs were quickest, the first on a tie."""
    measurements = [Measurement.from_json(payload["measurement"]) for payload in payloads]
    return min(measurements, key=reference_p10_ns)


def reference_p10_ns(measurement: Measurement) -> float:
    """Return the 10 % quantile of the reference's samples: its quick runs, which noise reaches last."""
    return quantile_ns(measurement.reference_blocks_ns, 0.1)


@dataclass
class Known:
    """Everything acknowledged about one candidate.

    Attributes:
        candidate: which.
        payloads: results by stage.
        repeats: results of measuring it again, by stage.
        failure: the newest stage's failure, if one failed.
        halved: it lost at a rung and was not trained on.
    """

    candidate: Candidate
    payloads: dict[str, Payload] = field(default_factory=dict)
    repeats: dict[str, list[Payload]] = field(default_factory=dict)
    failure: Failure | None = None
    halved: bool = False

    @property
    def measurement(self) -> Measurement | None:
        """The quietest of the latest stage's measurements: with real weights where there is one."""
        return self.measured(VERIFY) or self.measured(MEASURE)

    def measured(self, stage: str) -> Measurement | None:
        """The quietest of one stage's measurements."""
        if stage not in self.payloads:
            return None
        return quietest([self.payloads[stage], *self.repeats.get(stage, [])])

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

    def observation(self) -> Observation:
        """Return what a search strategy may know."""
        measurement = self.measurement
        if measurement is None:
            return Observation(self.candidate, failed=self.failure is not None, halved=self.halved)
        return Observation(
            self.candidate,
            measurement.ratio,
            measurement.peak_rss_bytes,
            self.figure("onnx_bytes"),
            self.val_top1,
            self.failure is not None,
            quantile_ns(measurement.candidate_blocks_ns, 0.1),
            reference_p10_ns(measurement),
            halved=self.halved,
        )


@dataclass(frozen=True)
class Standing:
    """What a run has found so far.

    Attributes:
        seed: the seed.
        candidates: every structure that was measured or trained, or failed, in the order they were proposed.
        pooled_p50_ns: the seed's p50 over the reference samples of every measurement that counts; every latency is a
            ratio times this.
    """

    seed: Known
    candidates: tuple[Known, ...]
    pooled_p50_ns: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Standing:
        """Read a run's acknowledged outcomes; there must be the space's."""
        by_id: dict[str, Known] = {}
        seed = None
        for outcome in outcomes:
            if outcome.stage == "space" and outcome.payload:
                seed = Known(Candidate.from_json(outcome.payload["seed"]))
                by_id[seed.candidate.structure_id] = seed
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
                known = by_id[structure_id_of(outcome)]
                known.failure = outcome.failure or known.failure
                if outcome.payload is not None:
                    known.payloads[outcome.stage] = outcome.payload
        assert seed is not None, "a run's first acknowledged stages include its space"
        others = [own for own in by_id.values() if own is not seed and (own.payloads or own.failure)]
        return cls(seed, tuple(others), _pooled_p50_ns(by_id.values()))

    def latency_ms(self, known: Known) -> Interval | None:
        """Return p50 with its interval: the paired ratio times the seed's pooled p50; the seed's ratio is 1."""
        pooled_ms = self.pooled_p50_ns / 1e6
        if known is self.seed:
            return Interval(pooled_ms, pooled_ms, pooled_ms) if known.measurement else None
        return known.measurement.ratio.scaled(pooled_ms) if known.measurement else None

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
        measurement, latency, top1 = known.measurement, self.latency_ms(known), known.val_top1
        size = known.figure("onnx_bytes")
        if measurement is None or latency is None or top1 is None or size is None:
            return None
        return Objectives(top1, latency, measurement.peak_rss_bytes / MB, size)


@dataclass(frozen=True)
class Ranking:
    """Who is on the front, who meets the budgets, and who is best.

    Attributes:
        best: None where nothing meets the budgets.
        reason: why, or the nearest miss.
        on_front: structure ids, the seed's among them where it is.
        meets: structure id -> whether every budget is met, for the trained.
    """

    best: Known | None
    reason: str
    on_front: frozenset[str]
    meets: dict[str, bool]


def rank(standing: Standing, budgets: Budgets) -> Ranking:
    """Rank what is known under these budgets."""
    seed = standing.objectives(standing.seed)
    if seed is None:
        return Ranking(None, "the seed has not been measured yet", frozenset(), {})
    entries = [(known, standing.objectives(known)) for known in standing.candidates]
    contenders = [(known, point) for known, point in entries if point is not None]
    points = [point for _, point in contenders]
    verdict: Verdict = choose_best(points, seed.top1, budgets)
    front = pareto_front([seed, *points])
    everyone = [standing.seed, *(known for known, _ in contenders)]
    return Ranking(
        None if verdict.best is None else contenders[verdict.best][0],
        verdict.reason,
        frozenset(own.candidate.structure_id for own, on_front in zip(everyone, front, strict=True) if on_front),
        {known.candidate.structure_id: not misses(point, seed.top1, budgets) for known, point in contenders},
    )


def rung_subject(structure_id: str, epochs: int) -> str:
    """Name a rung's outcome for one candidate."""
    return f"{structure_id}@{epochs}"


def structure_id_of(outcome: Outcome) -> str:
    """Return which candidate an outcome is about; of outcomes that are about none, the subject."""
    return outcome.subject.partition("@")[0]


def _pooled_p50_ns(everyone: Iterable[Known]) -> float:
    samples: list[int] = []
    for known in everyone:
        for stage in (MEASURE, VERIFY):
            measurement = known.measured(stage)
            if measurement is not None:
                samples += [sample for block in measurement.reference_blocks_ns for sample in block]
    return float(np.median(samples)) if samples else float("nan")
