"""A run's summary from the store alone, so that ``rank`` and ``report`` work offline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import scbp_host
from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.resources import resources_of
from scbp_host.errors import StoreError
from scbp_host.measuring.stability import uncertain
from scbp_host.ranking.budgets import Budgets
from scbp_host.report.summary import (
    BinningRecord,
    BudgetRecord,
    DataRecord,
    DeviceRecord,
    GroupRecord,
    LatencyModelRecord,
    ModelRecord,
    OrderRecord,
    ReferenceRecord,
    StopRecord,
    StructureBytes,
    Summary,
    SuperblockRecord,
)
from scbp_host.stages.candidate_records import CandidateRecords
from scbp_host.stages.known import Known
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import BINNING, DECIDE, MEASURE, PROPOSE, SELF_TEST, STOP
from scbp_host.stages.ranked import rank
from scbp_host.stages.round_records import round_records
from scbp_host.stages.standing import Standing, reference_of
from scbp_host.store import Outcome, Store

# The reference against itself should give 1; further off than this the machine was too busy to trust.
SELF_TEST_TOLERANCE = 0.03


def budgets_of(config: RunConfig) -> Budgets:
    """Return the run's budgets."""
    return Budgets(config.latency_budget, config.resource_budgets, config.accuracy_drop_points)


def summarise(store: Store, run_id: str, budgets: Budgets | None = None) -> Summary:
    """Summarise a run from its acknowledged stages.

    Args:
        store: where the run is.
        run_id: which run.
        budgets: None takes those the run was started with.

    Raises:
        StoreError: there is no such run, it was stopped before there was anything to rank, or its device did not tell
            what a budget limits.
    """
    run = store.run(run_id)
    config = RunConfig.model_validate(run.config["config"])
    outcomes = store.outcomes(run_id)
    subjects = {(outcome.stage, outcome.subject): outcome.payload for outcome in outcomes}
    device, data, space = (subjects.get(key) for key in (("probe", "device"), ("data", "task"), ("space", "space")))
    if device is None or data is None or space is None:
        raise StoreError(f"run {run_id!r} was stopped before it measured anything", "continue it with --resume")
    standing = Standing.of(outcomes)
    if budgets is not None:
        _check_told(run_id, standing, budgets)
    chosen = budgets or budgets_of(config)
    ranking = rank(standing, chosen)
    record = CandidateRecords(standing, ranking, config.first_precision)
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
            max_accuracy_drop=None if chosen.accuracy_drop_points is None else chosen.accuracy_drop_points / 100,
            **{own.key: limit for own, limit in chosen.resources.items()},
        ),
        latency_model=_latency_model(outcomes),
        rounds=round_records(outcomes),
        stopped=_stopped(outcomes),
        order=_order(outcomes),
        bytes_shipped=sum(int((outcome.payload or {}).get("bytes_shipped", 0)) for outcome in outcomes),
        structure_bytes=_structure_bytes(standing),
        stage_seconds=_stage_seconds(outcomes),
        warnings=_warnings(standing, [*device["warnings"], *data.get("warnings", ())], binning, itself),
    )


def _check_told(run_id: str, standing: Standing, budgets: Budgets) -> None:
    told = {resource for known in (standing.seed, *standing.rows) for resource in resources_of(known.measurement)}
    for resource in budgets.resources:
        if resource not in told:
            message = f"run {run_id!r}: its device did not tell the {resource.title}"
            raise StoreError(message, f"rank without --{resource.name}-budget")


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


def _structure_bytes(standing: Standing) -> StructureBytes:
    everyone = [standing.seed, *standing.candidates]
    sizes = [int(known.payloads.get(MEASURE, {}).get("wire_bytes") or 0) for known in everyone]
    return StructureBytes(largest=max(sizes), model_bytes=standing.seed.figure("onnx_bytes") or 0)


def _stage_seconds(outcomes: Sequence[Outcome]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for outcome in outcomes:
        seconds[outcome.stage] += outcome.seconds or 0.0
    return {stage: round(total, 3) for stage, total in seconds.items()}


def _warnings(
    standing: Standing, earlier: Sequence[str], binning: BinningRecord, itself: Payload | None
) -> tuple[str, ...]:
    return (*earlier, *_of_binning(binning), *_of_self_test(itself), *_of_measurements(standing.rows))


def _of_binning(binning: BinningRecord) -> Iterator[str]:
    # A stage's layers of another resolution are the rule, not an exception: the report lists them, and that is all.
    if binning.moved and binning.method != "stage":
        yield (
            f"superblocks by {binning.method}: {len(binning.moved)} cuts moved so that no coupled channels are split; "
            "the report says which"
        )


def _of_self_test(itself: Payload | None) -> Iterator[str]:
    ratio = 1.0 if itself is None else itself["measurement"]["ratio"][0]
    if abs(ratio - 1.0) > SELF_TEST_TOLERANCE:
        yield (
            f"the reference measured against itself came out at {ratio:.3f}: the device was busy; stop other work on it"
        )


def _of_measurements(rows: Sequence[Known]) -> Iterator[str]:
    measured = {known.id: own for known in rows if (own := known.measurement) is not None}
    if still := uncertain({name: own.ratio for name, own in measured.items()}):
        yield (
            f"{len(still)} of {len(rows)} ratios are known to more than ±5 % only, however often they were"
            " measured: stop other work on the device, and run again"
        )
    if noisy := [own for own in measured.values() if own.warnings]:
        yield f"{len(noisy)} of {len(rows)} measurements carry a warning; the table says which"
    if failed := [known for known in rows if known.failure]:
        yield f"{len(failed)} candidates failed; the table says why"
