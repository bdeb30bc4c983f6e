"""Measuring again what the order of the trained turns on, until it is decided or the time for it is spent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from scbp_host.events import Progress, StageStarted
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import DECIDE, VERIFY
from scbp_host.stages.ranked import decisive
from scbp_host.stages.standing import Standing
from scbp_host.stages.summary import budgets_of
from scbp_host.stages.trainings import Trainings

# Twice as sure takes four measurements. What these do not tell apart is as good as equal, and is reported as tied.
MOST_REPEATS = 4


class Deciding:
    """Spends a run's ``decide_seconds`` on the latencies that decide who is on the front, within the budget, or best.

    Each turn measures one network again, the one whose latency accounts for most of what is still open, and the next
    turn is decided by what that gave. Turns are acknowledged, so a resumed run goes on with the next.

    Args:
        run: the run; the clock begins here.
        trainings: measures again.
        standing: returns what is known by now.
        clock: seconds.
    """

    def __init__(
        self,
        run: RunContext,
        trainings: Trainings,
        standing: Callable[[], Standing],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._trainings = trainings
        self._standing = standing
        self._clock = clock
        self._since = clock()

    def run(self) -> None:
        """Measure again, turn by turn."""
        self._run.listen(StageStarted(VERIFY, "measure again what the order turns on"))
        number = 1
        while chosen := self._turn(number)["id"]:
            self._trainings.measure_again(chosen, f"{DECIDE}-{number}")
            self._run.listen(Progress(VERIFY, number))
            number += 1

    def _turn(self, number: int) -> Payload:
        return self._run.ledger.must(DECIDE, f"turn-{number}", lambda: self._decide(number))

    def _decide(self, number: int) -> Payload:
        turns = self._run.ledger.payloads(DECIDE)
        now, done = self._clock(), number - 1
        spent_s = (turns[f"turn-{done}"]["spent_s"] if done else 0.0) + now - self._since
        self._since = now
        open_ones = decisive(self._standing(), budgets_of(self._run.config))
        repeated = Counter(own["id"] for own in turns.values())
        left = [own for own in open_ones if repeated[own] < MOST_REPEATS]
        # Nothing is begun that would end too late, by what the others took.
        late = spent_s + spent_s / max(done, 1) >= self._run.config.decide_seconds
        return {
            "id": left[0] if left and not late else None,
            "open": len(open_ones),
            "repeats": done,
            "spent_s": spent_s,
            "text": _text(done, spent_s, len(open_ones), exhausted=not left),
        }


def _text(repeats: int, spent_s: float, open_ones: int, *, exhausted: bool) -> str:
    found = {0: "no latency leaves", 1: "1 latency still leaves"}.get(open_ones, f"{open_ones} latencies still leave")
    found += " the order open"
    if open_ones and exhausted:
        found += ", however often measured"
    return f"{found} ({repeats} measured again in {spent_s:.0f} s)" if repeats else found
