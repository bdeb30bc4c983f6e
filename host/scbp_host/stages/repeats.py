"""Measuring again, later, what could not be told for certain because something else had the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.events import Progress, StageStarted
from scbp_host.measuring.stability import uncertain
from scbp_host.stages.context import RunContext
from scbp_host.stages.known import measurement_in, surest
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import AGAIN, UNCERTAIN

# A neighbour stays for seconds to minutes: what is uncertain waits until the others had their turn, and twice at most.
PASSES = 2

T = TypeVar("T")


def settle(
    run: RunContext,
    stage: str,
    batch: str,
    measured: Mapping[str, T],
    again: Callable[[T, Measurement], Measurement | Failure],
) -> None:
    """Measure the uncertain ones of a batch again, each pass acknowledged before the next is decided.

    Args:
        run: the run.
        stage: MEASURE or VERIFY.
        batch: names the batch within the run, e.g. ``round-1``.
        measured: what was measured, by id.
        again: takes one of them and its surest measurement so far.
    """
    for number in range(1, PASSES + 1):
        decided = run.ledger.must(
            UNCERTAIN, f"{stage}-{batch}-{number}", lambda: {"ids": _uncertain_ids(run, stage, measured)}
        )
        ids: list[str] = decided["ids"]
        if not ids:
            return
        run.listen(StageStarted(stage, f"measure again what was uncertain: {batch}", len(ids)))
        for done, own in enumerate(ids, start=1):
            measure_again(run, stage, own, str(number), partial(again, measured[own]))
            run.listen(Progress(stage, done))


def measure_again(
    run: RunContext, stage: str, structure_id: str, turn: str, again: Callable[[Measurement], Measurement | Failure]
) -> None:
    """Acknowledge one more measurement of what a stage has measured; after a failure the earlier ones stand.

    Args:
        run: the run.
        stage: MEASURE or VERIFY.
        structure_id: of what.
        turn: names the measurement among those of this structure.
        again: takes the surest measurement so far.
    """

    def compute() -> Payload | Failure:
        shipped_before = run.client.bytes_shipped
        measured = again(_surest(run, stage)[structure_id])
        if isinstance(measured, Failure):
            return measured
        return {
            "structure_id": structure_id,
            "bytes_shipped": run.client.bytes_shipped - shipped_before,
            "measurement": measured.to_json(),
        }

    run.ledger.once(AGAIN[stage], f"{structure_id}/{turn}", compute)


def _uncertain_ids(run: RunContext, stage: str, ids: Iterable[str]) -> list[str]:
    measured = _surest(run, stage)
    return uncertain({own: measured[own].ratio for own in ids})


def _surest(run: RunContext, stage: str) -> dict[str, Measurement]:
    repeats = list(run.ledger.payloads(AGAIN[stage]).values())
    measured = {
        structure_id: [payload, *(own for own in repeats if own["structure_id"] == structure_id)]
        for structure_id, payload in run.ledger.payloads(stage).items()
    }
    return {structure_id: surest([*map(measurement_in, payloads)]) for structure_id, payloads in measured.items()}
