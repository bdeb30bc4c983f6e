"""What is proposed for training is measured first, and what turns out to be out of the budgets is replaced."""

import itertools
from types import SimpleNamespace

import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.events import ignore
from scbp_host.latency.transfer import Experience
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.proposals import ATTEMPTS, Proposals

RATIOS = (1.0, 0.75, 0.5, 0.375, 0.25)
COUNT = 3
# The seed takes 1 ms.
BUDGET_MS = 0.6
LOST = Failure(FailureKind.WORKER_CRASHED, "the worker ended with signal 11", "run it again")


class Guess:
    """What is wider is more accurate."""

    def refine(self, propose, count):
        """Nothing to look closer at."""

    def prior(self, widths):
        return prior_of_importance(widths.prod(axis=1), widths)


class Bench:
    """A device whose latencies are additive but for some surprises, by ratios; writes what it measures.

    It takes 10 mJ where the seed's latency takes 1 ms, but for the greedy.
    """

    def __init__(self, run, surprises, greedy=()):
        self.run, self.surprises, self.greedy, self.batches = run, surprises, greedy, []

    def __call__(self, candidates, batch, _title):
        self.batches.append(batch)
        known = {outcome.subject for outcome in self.run.store.outcomes(self.run.run_id) if outcome.stage == "measure"}
        for own in candidates:
            surprise = self.surprises.get(own.ratios, 0.1 + 0.3 * own.ratios[0] + 0.6 * own.ratios[1])
            if own.structure_id in known:
                continue
            if isinstance(surprise, Failure):
                self.run.fail("measure", own, surprise)
            else:
                energy_mj = 100.0 if own.ratios in self.greedy else 10 * surprise
                self.run.measure(own, surprise, energy_mj=energy_mj)
        return {}


@pytest.fixture
def pool(candidate):
    return [candidate(*own) for own in itertools.product(RATIOS, repeat=2) if own != (1.0, 1.0)]


@pytest.fixture
def round_of(run, candidate, pool):
    """Measure a spread and propose what to train; returns the proposed, and the bench."""
    seed = candidate(1.0, 1.0)

    def propose(surprises, latency_budget=BUDGET_MS, energy_budget=None, greedy=()):
        # What this one proposes is not drawn, and stays when another is replaced.
        asked = {"strategy": "one_shot", "measure": 8, "train": COUNT}
        budgets = {"latency_budget": latency_budget and f"{latency_budget}ms", "energy_budget": energy_budget}
        config = RunConfig(**budgets, **asked)
        context = SimpleNamespace(config=config, ledger=Ledger(run.store, run.run_id, ignore))
        groups = [SimpleNamespace(groups=[SimpleNamespace(name=name, channels=full)]) for name, full in seed.widths]
        space = SimpleNamespace(superblocks=groups)
        bench = Bench(run, surprises, greedy)
        proposals = Proposals(context, space, pool, Guess(), run.standing, Experience(), None)
        bench(proposals.ahead(1), "spread", "")
        return [own.ratios for own in proposals.measured_for_training(1, COUNT, bench)], bench

    run.begin()
    run.train(seed, 1.0, 0.99)
    return propose


@pytest.fixture
def unsurprised():
    """What is proposed where all is as predicted."""
    return [(0.75, 0.375), (0.25, 0.5), (1.0, 0.25)]


def test_what_is_in_time_as_predicted_is_proposed_once(round_of, unsurprised):
    proposed, bench = round_of({})
    assert proposed == unsurprised
    assert bench.batches == ["spread", "round-1"]
    assert len(proposed) == COUNT
    assert all(1.01 * (0.1 + 0.3 * first + 0.6 * second) <= BUDGET_MS for first, second in proposed)


def test_what_turns_out_too_slow_is_replaced_by_what_is_in_time(round_of, run, unsurprised):
    slow, _, lost = unsurprised
    proposed, bench = round_of({slow: 0.75, lost: LOST})
    assert len(bench.batches) > 2
    assert len(proposed) == COUNT
    assert not {slow, lost} & set(proposed)
    measured = {own.candidate.ratios: own.measurement for own in run.standing().candidates}
    assert measured[slow].ratio.high > BUDGET_MS
    assert all(measured[own].ratio.high <= BUDGET_MS for own in proposed)


def test_what_turns_out_to_take_too_much_energy_is_replaced(round_of, unsurprised):
    greedy = unsurprised[1]
    proposed, bench = round_of({}, energy_budget="6mJ", greedy=(greedy,))
    assert len(bench.batches) > 2
    assert len(proposed) == COUNT
    assert greedy not in proposed


def test_what_is_expected_to_take_too_much_energy_is_not_proposed(round_of):
    proposed, bench = round_of({}, latency_budget=None, energy_budget="0.004J")
    assert len(proposed) == COUNT
    assert all(0.1 + 0.3 * first + 0.6 * second <= 0.4 for first, second in proposed)
    assert len(bench.batches) <= 3, "and hardly anything was in vain"


def test_a_search_that_is_always_wrong_ends_with_what_it_has(round_of, unsurprised, pool):
    slow = {own.ratios: 0.9 for own in pool if own.ratios not in unsurprised[1:]}
    spread_as_it_is = {ratios: 0.1 + 0.3 * ratios[0] + 0.6 * ratios[1] for ratios in unsurprised[1:]}
    proposed, bench = round_of({**slow, **spread_as_it_is})
    assert set(proposed) <= set(unsurprised[1:])
    assert len(bench.batches) <= 1 + ATTEMPTS


def test_where_nothing_is_in_time_nothing_is_trained(round_of):
    proposed, bench = round_of({}, latency_budget=0.01)
    assert proposed == []
    assert bench.batches == ["spread", "round-1"], "nothing to propose, so nothing more to measure"


def test_a_resumed_run_comes_to_the_same_and_measures_nothing_new(round_of, run, unsurprised):
    surprises = dict.fromkeys(unsurprised[:2], 0.75)
    proposed, _ = round_of(surprises)
    before = len(run.store.outcomes(run.run_id))
    assert round_of(surprises)[0] == proposed
    assert len(run.store.outcomes(run.run_id)) == before
