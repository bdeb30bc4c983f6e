"""A run ends where a budget is spent or nothing is left, says which, and ends there again when it is resumed."""

from types import SimpleNamespace

import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.events import ignore
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.names import STOP
from scbp_host.stages.stopping import Stopping, StopReason
from scbp_host.stages.summary import summarise

HOUR_S = 3600.0


class Clock:
    """Shows what it is set to."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stopping(run, clock):
    """Return a maker of a run's stopping rule, as at its start or when it is resumed."""
    run.begin()

    def make(**config):
        own = RunConfig(train=4, **config)
        return Stopping(SimpleNamespace(config=own, ledger=Ledger(run.store, run.run_id, ignore)), clock)

    return make


def trained(run, candidate, count, begin=0):
    for own in range(begin, begin + count):
        run.add("train", candidate(1.0, (own + 1) / 100).structure_id, {"epochs": 1})


def decided(run, number):
    (own,) = (o.payload for o in run.store.outcomes(run.run_id, STOP) if o.subject == f"round-{number}")
    return own["reason"], own["text"]


def test_without_budgets_there_are_two_rounds(stopping, run):
    own = stopping()
    assert [own.allowed(number) for number in (1, 2, 3)] == [4, 4, 0]
    assert decided(run, 3) == (StopReason.ROUNDS, "2 of 2 rounds are done")
    assert decided(run, 2) == (None, None)


def test_as_many_rounds_as_asked_for(stopping):
    own = stopping(rounds=5)
    assert [own.allowed(number) for number in range(1, 7)] == [4] * 5 + [0]


def test_the_last_trainings_are_as_many_as_are_left(stopping, run, candidate):
    own = stopping(max_trainings=6)
    assert own.allowed(1) == 4
    trained(run, candidate, 4)
    assert own.allowed(2) == 2
    trained(run, candidate, 2, begin=4)
    assert own.allowed(3) == 0
    assert decided(run, 3) == (StopReason.MAX_TRAININGS, "6 of 6 trainings are done")


def test_a_training_that_failed_or_was_stopped_at_a_rung_is_spent_too(stopping, run, candidate):
    own = stopping(max_trainings=4)
    own.allowed(1)
    run.fail("train", candidate(0.5, 0.5), Failure(FailureKind.TRAINING_FAILED, "it diverged"))
    for epochs in (1, 2):
        run.add("rung", f"{candidate(0.25, 0.5).structure_id}@{epochs}", {"epochs": epochs})
    assert own.allowed(2) == 2


def test_no_training_begins_that_would_take_too_long(stopping, run, candidate, clock):
    own = stopping(max_hours=1.0)
    clock.now_s += 0.1 * HOUR_S
    assert own.allowed(1) == 4, "nobody knows yet what one costs"
    clock.now_s += 0.8 * HOUR_S
    trained(run, candidate, 16)
    assert own.allowed(2) == 2, "a tenth of an hour is left, and each took a twentieth"
    clock.now_s += 0.06 * HOUR_S
    trained(run, candidate, 1, begin=16)
    assert own.allowed(3) == 0
    assert decided(run, 3) == (StopReason.MAX_HOURS, "0.96 of 1 hours are spent, and a training takes 0.06")


def test_the_time_until_it_is_resumed_does_not_count(stopping, run, candidate, clock):
    begun = stopping(max_hours=1.0)
    begun.allowed(1)
    trained(run, candidate, 4)
    clock.now_s += 0.5 * HOUR_S
    assert begun.allowed(2) == 4
    clock.now_s += 5 * HOUR_S
    resumed = stopping(max_hours=1.0)
    assert resumed.allowed(2) == 4
    clock.now_s += 0.2 * HOUR_S
    assert resumed.allowed(3) == 4


def test_a_resumed_run_ends_where_it_ended(stopping, run, candidate):
    own = stopping(max_trainings=4)
    own.allowed(1)
    trained(run, candidate, 4)
    assert own.allowed(2) == 0
    rows = run.store.outcomes(run.run_id)
    again = stopping(max_trainings=4)
    assert [again.allowed(number) for number in (1, 2)] == [4, 0]
    assert run.store.outcomes(run.run_id) == rows


def proposed(run, candidates, improvement, number=1):
    payload = {"round": number, "purpose": "train", "candidates": [own.to_json() for own in candidates]}
    run.add("propose", f"round-{number}-train", {**payload, "improvement": improvement})


@pytest.mark.parametrize(
    ("improvement", "reason", "text"),
    [
        (None, StopReason.NOTHING_LEFT, "nothing is left to train that may be within the budgets"),
        (
            0.0004,
            StopReason.IMPROVEMENT,
            "another round is expected to add 0.04% to the hypervolume, and worth it is 0.10%",
        ),
    ],
)
def test_a_round_that_had_nothing_to_train_is_the_last(stopping, run, improvement, reason, text):
    own = stopping(rounds=9)
    own.allowed(1)
    proposed(run, [], improvement)
    assert own.allowed(2) == 0
    assert decided(run, 2) == (reason, text)


def test_one_that_had_something_is_not(stopping, run, candidate):
    own = stopping(rounds=9)
    own.allowed(1)
    proposed(run, [candidate(0.5, 0.5)], 0.0004)
    assert own.allowed(2) == 4


def test_the_summary_says_why_it_ended(stopping, run, candidate):
    run.train(candidate(1.0, 1.0), 1.0, 0.99)
    own = stopping()
    own.allowed(1)
    assert summarise(run.store, run.run_id).stopped is None
    own.allowed(2)
    own.allowed(3)
    stopped = summarise(run.store, run.run_id).stopped
    assert (stopped.reason, stopped.text) == ("rounds", "2 of 2 rounds are done")
