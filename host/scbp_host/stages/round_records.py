"""What became of each round's proposals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from scbp_host.report.summary import RoundRecord
from scbp_host.search.base import Purpose
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import HALVING, MEASURE, PROPOSE, RUNG, TRAIN, VERIFY, structure_id_of
from scbp_host.store import Outcome

_COUNTS = ("proposed", "measured", "trained", "dropped", "halved", "epochs")


def round_records(outcomes: Sequence[Outcome]) -> tuple[RoundRecord, ...]:
    """Count what became of each round's proposals; a structure counts where it was proposed first, for each."""
    tally = _Tally(outcomes)
    for outcome in outcomes:
        if outcome.stage == HALVING and outcome.payload:
            tally.halve(outcome.payload)
        elif outcome.stage == PROPOSE and outcome.payload:
            tally.propose(outcome.payload, training=outcome.subject.endswith(Purpose.TRAIN))
    return tally.records()


class _Tally:
    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._rounds: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
        self._epochs = _epochs(outcomes)
        self._done: dict[str, set[str]] = defaultdict(set)
        self._counted: dict[str, set[str]] = defaultdict(set)
        for outcome in outcomes:
            if outcome.ok:
                self._done[outcome.stage].add(outcome.subject)

    def halve(self, payload: Payload) -> None:
        self._rounds[payload["round"]]["halved"] += len(payload["stopped"])

    def propose(self, payload: Payload, *, training: bool) -> None:
        counts = self._rounds[payload["round"]]
        ids = {data["structure_id"] for data in payload["candidates"]}
        counts["dropped"] = max(counts["dropped"], payload["dropped"])
        counts["proposed"] += self._newly(PROPOSE, ids)
        counts["measured"] += self._newly(MEASURE, ids & self._done[MEASURE])
        # What was measured ahead in one round may be trained in another.
        if training:
            counts["trained"] += self._newly(VERIFY, ids & self._done[VERIFY])
            counts["epochs"] += sum(self._epochs.pop(own, 0) for own in ids)

    def records(self) -> tuple[RoundRecord, ...]:
        return tuple(RoundRecord(round=number, **counts) for number, counts in sorted(self._rounds.items()))

    def _newly(self, stage: str, ids: set[str]) -> int:
        """Return how many of these did not count for the stage before; from now on they do."""
        new = ids - self._counted[stage]
        self._counted[stage] |= new
        return len(new)


def _epochs(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many epochs each structure was trained for."""
    epochs: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.stage in (RUNG, TRAIN) and outcome.payload:
            epochs[structure_id_of(outcome)] = int(outcome.payload.get("epochs", 0))
    return epochs
