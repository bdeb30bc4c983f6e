"""Measuring again, later, what was measured while something else had the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.events import Progress, StageStarted
from scbp_host.measuring.stability import disturbed
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.records import AGAIN, DISTURBED, MEASURE, VERIFY, quietest, reference_p10_ns

# A neighbour stays for seconds to minutes: what was disturbed waits until the others had their turn, and twice at most.
PASSES = 2

MeasureAgain = Callable[[Candidate, Measurement], Measurement | Failure]


def settle(
    run: RunContext, stage: str, batch: str, candidates: Mapping[str, Candidate], measure_again: MeasureAgain
) -> None:
    """Measure the disturbed ones of a batch again, each pass acknowledged before the next is decided.

    Args:
        run: the run.
        stage: MEASURE or VERIFY.
        batch: names the batch within the run, e.g. ``round-1``.
        candidates: those measured, by structure id.
        measure_again: takes a candidate and its quietest measurement so far.
    """
    for number in range(1, PASSES + 1):
        decided = run.ledger.must(
            DISTURBED, f"{stage}-{batch}-{number}", lambda: {"ids": _disturbed_ids(run, stage, candidates)}
        )
        ids: list[str] = decided["ids"]
        if not ids:
            return
        run.listen(StageStarted(stage, f"measure again what was disturbed: {batch}", len(ids)))
        for done, structure_id in enumerate(ids, start=1):
            _again(run, stage, candidates[structure_id], number, measure_again)
            run.listen(Progress(stage, done))


def _again(run: RunContext, stage: str, candidate: Candidate, number: int, measure_again: MeasureAgain) -> None:
    structure_id = candidate.structure_id

    def compute() -> Payload | Failure:
        shipped_before = run.client.bytes_shipped
        measured = measure_again(candidate, _quietest(run, stage)[structure_id])
        if isinstance(measured, Failure):
            return measured
        return {
            "structure_id": structure_id,
            "bytes_shipped": run.client.bytes_shipped - shipped_before,
            "measurement": measured.to_json(),
        }

    # A failure is a value and the earlier measurement stays.
    run.ledger.once(AGAIN[stage], f"{structure_id}/{number}", compute)


def _disturbed_ids(run: RunContext, stage: str, candidates: Mapping[str, Candidate]) -> list[str]:
    """Compare with everything measured in the run: a batch of its own may have had no quiet moment."""
    p10_ns = {
        f"{measured}/{structure_id}": reference_p10_ns(measurement)
        for measured in (MEASURE, VERIFY)
        for structure_id, measurement in _quietest(run, measured).items()
    }
    found = set(disturbed(p10_ns))
    return [structure_id for structure_id in candidates if f"{stage}/{structure_id}" in found]


def _quietest(run: RunContext, stage: str) -> dict[str, Measurement]:
    repeats = list(run.ledger.payloads(AGAIN[stage]).values())
    return {
        structure_id: quietest([payload, *(own for own in repeats if own["structure_id"] == structure_id)])
        for structure_id, payload in run.ledger.payloads(stage).items()
    }
