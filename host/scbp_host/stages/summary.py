"""A run's summary from the store alone, so that ``rank`` and ``report`` work offline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import scbp_host
from scbp_host.config import RunConfig
from scbp_host.domain.alone import Alone
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Sampling
from scbp_host.domain.precision import Precision
from scbp_host.errors import StoreError
from scbp_host.measuring.stability import uncertain
from scbp_host.ranking.budgets import Budgets
from scbp_host.report.summary import (
    BinningRecord,
    BudgetRecord,
    CandidateRecord,
    DataRecord,
    DeviceRecord,
    EnergyRecord,
    FailureRecord,
    GroupRecord,
    LatencyModelRecord,
    ModelRecord,
    OrderRecord,
    PhaseRecord,
    ReferenceRecord,
    RoundRecord,
    StopRecord,
    StructureBytes,
    Summary,
    SuperblockRecord,
)
from scbp_host.search.base import Purpose
from scbp_host.stages.ledger import Payload
from scbp_host.stages.ranked import Ranking, rank
from scbp_host.stages.records import (
    BINNING,
    DECIDE,
    HALVING,
    MB,
    MEASURE,
    PROPOSE,
    RUNG,
    SELF_TEST,
    STOP,
    TRAIN,
    VERIFY,
    Known,
    Standing,
    reference_of,
    structure_id_of,
)
from scbp_host.store import Outcome, Store

# The reference against itself should give 1; further off than this the machine was too busy to trust.
SELF_TEST_TOLERANCE = 0.03


def budgets_of(config: RunConfig) -> Budgets:
    """Return the run's budgets."""
    return Budgets(config.latency_budget, config.memory_budget, config.accuracy_drop_points)


def summarise(store: Store, run_id: str, budgets: Budgets | None = None) -> Summary:
    """Summarise a run from its acknowledged stages.

    Args:
        store: where the run is.
        run_id: which run.
        budgets: None takes those the run was started with.

    Raises:
        StoreError: there is no such run, or it was stopped before there was anything to rank.
    """
    run = store.run(run_id)
    config = RunConfig.model_validate(run.config["config"])
    outcomes = store.outcomes(run_id)
    subjects = {(outcome.stage, outcome.subject): outcome.payload for outcome in outcomes}
    device, data, space = (subjects.get(key) for key in (("probe", "device"), ("data", "task"), ("space", "space")))
    if device is None or data is None or space is None:
        raise StoreError(f"run {run_id!r} was stopped before it measured anything", "continue it with --resume")
    standing = Standing.of(outcomes)
    chosen = budgets or budgets_of(config)
    ranking = rank(standing, chosen)
    record = _Records(standing, ranking, config.first_precision)
    binning = _binning(subjects.get((BINNING, "superblocks")))
    itself = subjects.get((SELF_TEST, "reference"))
    candidates = tuple(record.of(known) for known in standing.rows)
    seed = record.of(standing.seed)
    return Summary(
        run_id=run_id,
        created_at=run.created_at,
        scbp_version=scbp_host.__version__,
        random_seed=config.random_seed,
        command=tuple(run.config["command"]),
        device=DeviceRecord.model_validate(device["record"]),
        model=ModelRecord(factory=config.model, num_classes=len(data["class_names"]), input_shape=config.input_shape),
        data=DataRecord.model_validate({key: own for key, own in data.items() if key != "warnings"}),
        rate_hz=config.rate,
        space_size=space["size"],
        space_size_ci95=space.get("size_ci95"),
        pool_size=space.get("pool_size"),
        superblocks=tuple(_superblock(block) for block in space["superblocks"]),
        binning=binning,
        reference=_reference(standing, reference_of(space), itself),
        seed=seed,
        best=None if ranking.best is None else record.of(ranking.best),
        best_reason=ranking.reason,
        candidates=candidates,
        budgets=BudgetRecord(
            latency_ms=chosen.latency_ms,
            memory_mb=chosen.memory_mb,
            max_accuracy_drop=None if chosen.accuracy_drop_points is None else chosen.accuracy_drop_points / 100,
        ),
        latency_model=_latency_model(outcomes),
        rounds=_rounds(outcomes),
        stopped=_stopped(outcomes),
        order=_order(outcomes),
        bytes_shipped=sum(int((outcome.payload or {}).get("bytes_shipped", 0)) for outcome in outcomes),
        structure_bytes=_structure_bytes(standing),
        stage_seconds=_stage_seconds(outcomes),
        warnings=_warnings(standing, [*device["warnings"], *data.get("warnings", ())], binning, itself),
    )


class _Records:
    """Turns what is known of a candidate into its record."""

    def __init__(self, standing: Standing, ranking: Ranking, first_precision: Precision) -> None:
        self._standing = standing
        self._ranking = ranking
        self._first_precision = first_precision

    def of(self, known: Known) -> CandidateRecord:
        is_seed = known is self._standing.seed
        measurement, chances = known.measurement, self._ranking.chances.get(known.id)
        latency, ratio = self._standing.latency_ms(known), self._standing.ratio(known)
        figures: dict[str, Any] = {}
        if measurement is not None:
            figures = {
                "peak_memory_mb": measurement.peak_rss_bytes / MB,
                "load_ms": measurement.load_ns / 1e6,
                "missed_frames": measurement.missed_periods,
                "verdicts": tuple(own.kind.value for own in measurement.verdicts),
                "warnings": measurement.warnings,
                "builds": len(measurement.builds) or 1,
                **(_sampling(measurement.sampling) if measurement.sampling else {}),
                **(_alone(measurement.alone) if measurement.alone else {}),
            }
        return CandidateRecord.model_validate(
            {
                "id": known.id,
                "ratios": known.candidate.ratios,
                "precision": known.precision or self._first_precision,
                "in_float": known.in_float,
                "status": "reference" if is_seed else known.status,
                "params": known.figure("params"),
                "macs": known.figure("macs"),
                "onnx_bytes": known.figure("onnx_bytes"),
                "wire_bytes": known.payloads.get(MEASURE, {}).get("wire_bytes"),
                "latency_p50_ms": latency and latency.value,
                "latency_ratio": ratio and ratio.value,
                "latency_ratio_ci95": ratio and (ratio.low, ratio.high),
                "latency_p99_ms": self._standing.p99_ms(known),
                "val_top1": known.val_top1,
                "test_top1": known.test_top1,
                "rung_epochs": known.rung and known.rung[0],
                "rung_val_top1": known.rung and known.rung[1],
                "on_front": known.id in self._ranking.on_front,
                "meets_budgets": self._ranking.meets.get(known.id),
                "chances": None if chances is None else asdict(chances),
                "tied_with_best": known.id in self._ranking.tied,
                "failure": known.failure and FailureRecord.of(known.failure),
                **figures,
            }
        )


def _alone(alone: Alone) -> dict[str, Any]:
    return {
        "warm_load_ms": alone.warm_load.duration_ns / 1e6,
        "build_s": None if alone.build_ns is None else alone.build_ns / 1e9,
        "energy": alone.energy and EnergyRecord.of(alone.energy),
        "phases": tuple(PhaseRecord.of(name, phase) for name, phase in alone.phases.items()),
        "gpu_ms": alone.device_times and alone.device_times.medians_ms,
        "notes": alone.notes,
    }


def _superblock(data: Payload) -> SuperblockRecord:
    groups = tuple(GroupRecord.model_validate(group) for group in data["groups"])
    return SuperblockRecord(name=data["name"], resolution=data["resolution"], groups=groups, ratios=data["ratios"])


def _binning(payload: Payload | None) -> BinningRecord:
    if payload is None:
        return BinningRecord()
    return BinningRecord.model_validate({name: payload[name] for name in BinningRecord.model_fields})


def _reference(standing: Standing, reference: Candidate, itself: Payload | None) -> ReferenceRecord | None:
    measurements = len(standing.seed.every_ratio)
    if not measurements:
        return None
    ratio = standing.seed_ratio
    return ReferenceRecord(
        id=reference.structure_id,
        ratios=reference.ratios,
        latency_p50_ms=standing.reference_p50_ns / 1e6,
        self_ratio=None if itself is None else itself["measurement"]["ratio"][0],
        seed_ratio=ratio.value,
        seed_ratio_ci95=(ratio.low, ratio.high),
        seed_measurements=measurements,
    )


def _latency_model(outcomes: Sequence[Outcome]) -> LatencyModelRecord | None:
    models = [outcome.payload["model"] for outcome in outcomes if outcome.stage == PROPOSE and outcome.payload]
    newest = [model for model in models if model]
    return LatencyModelRecord.model_validate(newest[-1]) if newest else None


def _stopped(outcomes: Sequence[Outcome]) -> StopRecord | None:
    decided = [outcome.payload for outcome in outcomes if outcome.stage == STOP and outcome.payload]
    if not decided or decided[-1]["reason"] is None:
        return None
    return StopRecord(reason=decided[-1]["reason"], text=decided[-1]["text"])


def _order(outcomes: Sequence[Outcome]) -> OrderRecord | None:
    turns = [outcome.payload for outcome in outcomes if outcome.stage == DECIDE and outcome.payload]
    if not turns:
        return None
    return OrderRecord(repeats=turns[-1]["repeats"], open=turns[-1]["open"], text=turns[-1]["text"])


_COUNTS = ("proposed", "measured", "trained", "dropped", "halved", "epochs")


def _rounds(outcomes: Sequence[Outcome]) -> tuple[RoundRecord, ...]:
    """Count what became of each round's proposals; a structure counts where it was proposed first, for each."""
    done = {(outcome.stage, outcome.subject) for outcome in outcomes if outcome.ok}
    rounds: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    epochs = _epochs(outcomes)
    seen: set[tuple[str, str]] = set()
    for outcome in outcomes:
        if outcome.stage == HALVING and outcome.payload:
            rounds[outcome.payload["round"]]["halved"] += len(outcome.payload["stopped"])
        if outcome.stage != PROPOSE or not outcome.payload:
            continue
        counts = rounds[outcome.payload["round"]]
        counts["dropped"] = max(counts["dropped"], outcome.payload["dropped"])
        ids = [data["structure_id"] for data in outcome.payload["candidates"]]
        counts["proposed"] += len({own for own in ids if (PROPOSE, own) not in seen})
        # What was measured ahead in one round may be trained in another.
        training = outcome.subject.endswith(Purpose.TRAIN)
        for stage, name in ((MEASURE, "measured"), *([(VERIFY, "trained")] if training else [])):
            counts[name] += len({own for own in ids if (stage, own) in done and (stage, own) not in seen})
            seen |= {(stage, own) for own in ids if (stage, own) in done}
        if training:
            counts["epochs"] += sum(epochs.pop(own, 0) for own in ids)
        seen |= {(PROPOSE, own) for own in ids}
    return tuple(RoundRecord(round=number, **counts) for number, counts in sorted(rounds.items()))


def _epochs(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many epochs each structure was trained for."""
    epochs: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.stage in (RUNG, TRAIN) and outcome.payload:
            epochs[structure_id_of(outcome)] = int(outcome.payload.get("epochs", 0))
    return epochs


def _structure_bytes(standing: Standing) -> StructureBytes:
    everyone = [standing.seed, *standing.candidates]
    sizes = [int(known.payloads.get(MEASURE, {}).get("wire_bytes") or 0) for known in everyone]
    return StructureBytes(largest=max(sizes), model_bytes=standing.seed.figure("onnx_bytes") or 0)


def _stage_seconds(outcomes: Sequence[Outcome]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for outcome in outcomes:
        seconds[outcome.stage] += outcome.seconds or 0.0
    return {stage: round(total, 3) for stage, total in seconds.items()}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {
        "loads": sampling.loads,
        "batches_discarded": sampling.discarded,
        "stopped_by": sampling.stopped.value,
    }


def _still_uncertain(standing: Standing) -> int:
    measured = {known.id: known.measurement for known in standing.rows}
    return len(uncertain({name: own.ratio for name, own in measured.items() if own is not None}))


def _warnings(
    standing: Standing, earlier: Sequence[str], binning: BinningRecord, itself: Payload | None
) -> tuple[str, ...]:
    warnings = list(earlier)
    # A stage's layers of another resolution are the rule, not an exception: the report lists them, and that is all.
    if binning.moved and binning.method != "stage":
        warnings.append(
            f"superblocks by {binning.method}: {len(binning.moved)} cuts moved so that no coupled channels are split; "
            "the report says which"
        )
    if itself is not None:
        ratio = itself["measurement"]["ratio"][0]
        if abs(ratio - 1.0) > SELF_TEST_TOLERANCE:
            warnings.append(
                f"the reference measured against itself came out at {ratio:.3f}: the device was busy; stop other work"
                " on it"
            )
    still = _still_uncertain(standing)
    if still:
        warnings.append(
            f"{still} of {len(standing.rows)} ratios are known to more than ±5 % only, however often they were"
            " measured: stop other work on the device, and run again"
        )
    noisy = [known for known in standing.rows if known.measurement and known.measurement.warnings]
    if noisy:
        warnings.append(f"{len(noisy)} of {len(standing.rows)} measurements carry a warning; the table says which")
    failed = [known for known in standing.rows if known.failure]
    if failed:
        warnings.append(f"{len(failed)} candidates failed; the table says why")
    return tuple(warnings)
