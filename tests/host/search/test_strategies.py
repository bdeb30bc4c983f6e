"""What holds for every strategy, whatever it goes by."""

from typing import get_args

import pytest
from search_tables import Table, synthetic

from scbp_host.config import SearchStrategy
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.search.base import Limits, Observation, Purpose
from scbp_host.search.strategies import STRATEGIES, make_strategy

TABLE = Table(synthetic(superblocks=3))
SPREAD, BATCH = 16, 3
# These have no end but the space's; the structures of one ratio are few.
NAMES = [name for name in STRATEGIES if name != "uniform"]

every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def searched(name, rounds, random_seed=0, limits=None):
    """Return the search and what it trained, in order."""
    problem = TABLE.problem(random_seed, limits)
    own = make_strategy(name, problem)
    observations = [TABLE.measured(each) for each in own.propose(Purpose.MEASURE, SPREAD).candidates]
    trained = []
    for _ in range(rounds):
        own = make_strategy(name, problem)
        own.observe(observations)
        batch = own.propose(Purpose.TRAIN, BATCH).candidates
        trained += batch
        observations += [TABLE.trained(each) for each in batch]
    own = make_strategy(name, problem)
    own.observe(observations)
    return own, trained


def test_every_name_of_the_configuration_has_a_strategy():
    assert set(STRATEGIES) == set(get_args(SearchStrategy))


@every_strategy
def test_nothing_is_proposed_twice(name):
    _, trained = searched(name, rounds=5)
    assert len({own.structure_id for own in trained}) == len(trained) > 0
    assert all(own.structure_id in TABLE.rows for own in trained)


@pytest.mark.parametrize("name", NAMES)
def test_it_proposes_as_many_as_asked_for(name):
    own, trained = searched(name, rounds=2)
    assert len(trained) == 2 * BATCH
    assert len(own.propose(Purpose.TRAIN, 1).candidates) == 1


@every_strategy
def test_the_same_observations_give_the_same_proposals(name):
    assert searched(name, rounds=4)[1] == searched(name, rounds=4)[1]


@every_strategy
def test_what_failed_or_was_stopped_is_not_proposed_again(name):
    own, _ = searched(name, rounds=0)
    failed, halved, *_ = own.propose(Purpose.TRAIN, BATCH).candidates
    own.observe([Observation(failed, failed=True), Observation(halved, halved=True)])
    again = own.propose(Purpose.TRAIN, len(TABLE.pool)).candidates
    assert not {failed, halved} & set(again)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "one_shot"])
def test_what_failed_or_was_stopped_is_dropped_and_what_was_trained_is_not(name):
    """The one-shot search drops what is beaten as well, the guided one what is slower than the seed."""
    own, trained = searched(name, rounds=1)
    assert len(trained) == BATCH
    others = [each for each in TABLE.pool if each not in trained]
    own.observe([TABLE.measured(each) for each in others])
    before = own.propose(Purpose.TRAIN, 1)
    slower = [each for each in TABLE.pool if TABLE.measured(each).latency_ratio.low >= 1.0]
    assert before.dropped == (len(slower) if name == "guided" else 0)
    own.observe([Observation(others[-1], failed=True), Observation(others[-2], halved=True)])
    after = own.propose(Purpose.TRAIN, 1)
    assert (after.plausible, after.dropped) == (before.plausible - 2, before.dropped + 2)


@every_strategy
def test_what_is_measured_to_be_out_of_the_budgets_is_not_proposed(name):
    slow, most = 0.5, {MEMORY: 20.5, ENERGY: 4.5}
    limits = Limits(latency_ratio=slow, resources=most)
    own, _ = searched(name, rounds=0, limits=limits)
    own.observe([TABLE.measured(each) for each in TABLE.pool])
    proposed = [TABLE.measured(each) for each in own.propose(Purpose.TRAIN, len(TABLE.pool)).candidates]
    assert proposed
    assert all(each.latency_ratio.high <= slow for each in proposed)
    assert all(each.resources[own] <= limit for each in proposed for own, limit in most.items())


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe"])
def test_the_random_seed_decides(name):
    assert searched(name, rounds=2)[1] != searched(name, rounds=2, random_seed=1)[1]


def test_the_width_multiplier_has_one_ratio_for_all():
    _, trained = searched("uniform", rounds=3)
    assert {own.ratios for own in trained} == {(own,) * 3 for own in (0.75, 0.5, 0.25)}, "the seed is no candidate"


def test_a_random_search_draws_from_the_whole_space():
    own, _ = searched("random", rounds=0)
    assert set(own.propose(Purpose.TRAIN, len(TABLE.pool)).candidates) == set(TABLE.pool)


@pytest.mark.parametrize("name", ["nsga2", "tpe", "gp"])
def test_a_sampler_learns_from_what_it_is_told(name):
    """Told that narrow is accurate as well as fast, it asks for narrow ones; its own like is told of wide ones."""

    def mean_width(best):
        own = make_strategy(name, TABLE.problem(0))
        told = [TABLE.pool[row] for row in range(0, len(TABLE.pool), 4)]
        own.observe(
            [
                Observation(
                    each,
                    TABLE.measured(each).latency_ratio.scaled(best(each)),
                    {MEMORY: 1.0},
                    1,
                    val_top1=1 - best(each) / 2,
                )
                for each in told
            ]
        )
        batch = own.propose(Purpose.TRAIN, 3).candidates
        return sum(sum(each.ratios) for each in batch)

    assert mean_width(lambda own: sum(own.ratios) / 3) < mean_width(lambda own: (4 - sum(own.ratios)) / 3)
