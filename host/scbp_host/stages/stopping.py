"""When a run has done enough: decided before each round and acknowledged, so that a resumed run stops there too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from scbp_host.search.base import Purpose
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import PROPOSE, RUNG, STOP, TRAIN

_HOUR_S = 3600.0


class StopReason(StrEnum):
    """Why a run trains no more."""

    ROUNDS = "rounds"
    MAX_TRAININGS = "max_trainings"
    MAX_HOURS = "max_hours"
    IMPROVEMENT = "improvement"
    NOTHING_LEFT = "nothing_left"


@dataclass(frozen=True)
class _Left:
    """How many more trainings one budget allows; None where it sets no limit."""

    count: int | None
    reason: StopReason
    text: str


class Stopping:
    """Holds a run to its budgets of rounds, trainings and hours.

    Hours are those in which the run was at work: what an interruption lost, and the time until it was resumed, do not
    count.

    Args:
        run: the run; its clock begins here.
        clock: seconds.
    """

    def __init__(self, run: RunContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._since = clock()

    def allowed(self, number: int) -> int:
        """Return how many candidates round ``number`` may train; 0 ends the run."""
        decided = self._run.ledger.must(STOP, f"round-{number}", lambda: self._decide(number))
        return int(decided["allowed"])

    def _decide(self, number: int) -> Payload:
        earlier = self._run.ledger.payloads(STOP).get(f"round-{number - 1}", {"spent_s": 0.0, "trained": 0})
        now = self._clock()
        spent_s, self._since = earlier["spent_s"] + now - self._since, now
        trained = self._trained()
        each_s = (
            (spent_s - earlier["spent_s"]) / (trained - earlier["trained"]) if trained > earlier["trained"] else None
        )
        budgets = (self._rounds(number), self._left(number), self._trainings(trained), self._hours(spent_s, each_s))
        ended = next((own for own in budgets if own.count is not None and own.count <= 0), None)
        allowed = min([self._run.config.train, *(own.count for own in budgets if own.count is not None)])
        return {
            "round": number,
            "trained": trained,
            "spent_s": spent_s,
            "allowed": max(0, allowed),
            "reason": ended and ended.reason.value,
            "text": ended and ended.text,
        }

    def _rounds(self, number: int) -> _Left:
        most, done = self._run.config.most_rounds, number - 1
        return _Left(0 if done == most else None, StopReason.ROUNDS, f"{done} of {most} rounds are done")

    def _trainings(self, trained: int) -> _Left:
        most = self._run.config.max_trainings
        left = None if most is None else most - trained
        return _Left(left, StopReason.MAX_TRAININGS, f"{trained} of {most} trainings are done")

    def _hours(self, spent_s: float, each_s: float | None) -> _Left:
        most = self._run.config.max_hours
        if most is None:
            return _Left(None, StopReason.MAX_HOURS, "")
        left_s, text = most * _HOUR_S - spent_s, f"{spent_s / _HOUR_S:.2g} of {most:g} hours are spent"
        if not each_s:  # before the first training nobody knows what one takes
            return _Left(None if left_s > 0 else 0, StopReason.MAX_HOURS, text)
        return _Left(int(left_s / each_s), StopReason.MAX_HOURS, f"{text}, and a training takes {each_s / _HOUR_S:.2g}")

    def _left(self, number: int) -> _Left:
        """Stop where the round before found nothing worth training."""
        every = [own for own in self._run.ledger.payloads(PROPOSE).values() if own["round"] == number - 1]
        last = [own for own in every if own.get("purpose") == Purpose.TRAIN]
        if not last or any(own["candidates"] for own in last):
            return _Left(None, StopReason.NOTHING_LEFT, "")
        improvement, least = last[-1]["improvement"], self._run.config.min_improvement
        if improvement is None or improvement >= least:
            return _Left(0, StopReason.NOTHING_LEFT, "nothing is left to train that may be within the budgets")
        text = f"another round is expected to add {improvement:.2%} to the hypervolume, and worth it is {least:.2%}"
        return _Left(0, StopReason.IMPROVEMENT, text)

    def _trained(self) -> int:
        """Count the structures whose training has begun and is acknowledged, failures among them."""
        ledger = self._run.ledger
        return len({own.partition("@")[0] for stage in (TRAIN, RUNG) for own in ledger.subjects(stage)})
