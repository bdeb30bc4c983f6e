import dataclasses

import numpy as np
import pytest
from search_tables import Table, synthetic

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, RESOURCES
from scbp_host.search.base import Limits, Observation, Purpose
from scbp_host.search.guided import MIN_TRAININGS, GuidedSearch
from scbp_host.search.hypervolume import hypervolume

TABLE = Table(synthetic(superblocks=3))
SPREAD = 16


def begun(trained=(), limits=None, measured=None, random_seed=0):
    """Return a search that has measured a spread (or all), and trained some rows."""
    own = GuidedSearch(TABLE.problem(random_seed, limits))
    ahead = own.propose(Purpose.MEASURE, SPREAD).candidates if measured is None else measured
    own.observe([TABLE.measured(each) for each in ahead])
    own.observe([TABLE.trained(TABLE.pool[row]) for row in trained])
    return own


def rows_of(proposal):
    return [TABLE.rows[own.structure_id] for own in proposal.candidates]


def share(rows, corner=TABLE.nadir):
    """Return the share of the whole space's hypervolume that these structures have."""
    latency, accuracy = TABLE.true_points.T
    area, whole = (
        hypervolume(latency[None, own], accuracy[None, own], corner)[0] for own in (rows, range(len(latency)))
    )
    return area / whole


def search_on(own, trainings, batch=2):
    trained = []
    while len(trained) < trainings:
        proposal = own.propose(Purpose.TRAIN, batch)
        if not proposal.candidates:
            break
        own.observe([TABLE.trained(each) for each in proposal.candidates])
        trained += rows_of(proposal)
    return trained


def test_it_finds_in_few_trainings_what_chance_does_not():
    found = share(search_on(begun(), 10))
    by_chance = [share(np.random.default_rng(own).permutation(len(TABLE.pool))[:10]) for own in range(20)]
    assert found > 0.93
    assert found > np.max(by_chance)


def test_before_it_knows_accuracies_the_ranks_of_guesses_stand_for_them():
    own = begun(measured=TABLE.pool)
    proposal = own.propose(Purpose.TRAIN, 4)
    chosen, latency, guess = rows_of(proposal), TABLE.latency[:, 0], TABLE.problem(0).prior.guess
    for row in chosen:
        faster = latency < 0.98 * latency[row]
        assert guess[row] >= guess[faster].max(initial=0.0), "nothing faster is guessed to be more accurate"
    assert latency[chosen].max() / latency[chosen].min() > 1.5
    assert proposal.improvement is None


def test_the_first_training_is_worth_more_than_either_end_of_the_front():
    (first,) = rows_of(begun(measured=TABLE.pool).propose(Purpose.TRAIN, 1))
    fastest, most_promising = np.argmin(TABLE.latency[:, 0]), np.argmax(TABLE.problem(0).prior.guess)
    assert share([first]) > max(share([fastest]), share([most_promising]))


def test_nothing_is_proposed_before_anything_is_measured():
    assert GuidedSearch(TABLE.problem(0)).propose(Purpose.TRAIN, 3).candidates == ()


def test_it_first_measures_a_spread_then_what_it_may_train():
    own = begun(trained=[1, 20, 40, 60])
    ahead = own.propose(Purpose.MEASURE, 8)
    assert len(ahead.candidates) == 8
    assert not set(ahead.candidates) & {own.candidate for own in own._pool.seen.values()}
    worth = share([1, 20, 40, 60, *rows_of(ahead)])
    others = [row for row in range(len(TABLE.pool)) if row not in rows_of(ahead)]
    by_chance = [
        share([1, 20, 40, 60, *np.random.default_rng(each).choice(others, 8, replace=False)]) for each in range(20)
    ]
    assert worth > np.median(by_chance)


def test_a_batch_does_not_buy_one_thing_twice():
    """The two that gain most each for itself may be neighbours; the second is chosen beside the first."""
    own = begun(trained=[1, 20, 40, 60])
    batch = own.propose(Purpose.TRAIN, 6)
    assert len(set(rows_of(batch))) == 6
    latency = np.sort(TABLE.latency[rows_of(batch), 0])
    assert latency[-1] / latency[0] > 1.5
    assert batch.improvement > own.propose(Purpose.TRAIN, 1).improvement > 0


def test_it_expects_less_and_less():
    few, many = begun(trained=[1, 20, 40]), begun(trained=range(0, len(TABLE.pool), 2))
    improvements = [own.propose(Purpose.TRAIN, 2).improvement for own in (few, many)]
    assert 0 <= improvements[1] < improvements[0]


def test_what_is_expected_to_bring_too_little_is_not_trained():
    trained = range(0, len(TABLE.pool), 2)
    proposal = begun(trained=trained).propose(Purpose.TRAIN, 2)
    assert proposal.candidates
    content = begun(trained=trained, limits=Limits(min_improvement=1.01 * proposal.improvement))
    stopped = content.propose(Purpose.TRAIN, 2)
    assert stopped.candidates == ()
    assert stopped.improvement == pytest.approx(proposal.improvement)


def test_under_a_budget_it_finds_what_is_in_time_and_accurate_enough():
    limits = Limits(latency_ratio=0.7, min_val_top1=float(np.quantile(TABLE.top1, 0.2)))
    corner = (limits.latency_ratio, limits.min_val_top1)
    trained = search_on(begun(limits=limits, measured=TABLE.pool), 9, batch=3)
    assert share(trained, corner) > 0.9
    late = TABLE.latency[trained[MIN_TRAININGS:], 0] > 1.03 * limits.latency_ratio
    assert not late.any()


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda own: own.name)
def test_what_hardly_keeps_to_the_budget_of_a_resource_is_not_trained(resource):
    amounts = TABLE.resources[resource]
    limit = float(np.median(amounts))
    trained = search_on(begun(limits=Limits(resources={resource: limit})), 9, batch=3)
    assert len(trained) == 9
    assert np.mean(amounts[trained[MIN_TRAININGS:]] <= 1.02 * limit) > 0.8


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda own: own.name)
def test_what_surely_takes_too_much_is_not_even_a_first_guess(resource):
    amounts = TABLE.resources[resource]
    limit = float(np.quantile(amounts, 0.3))
    proposal = begun(limits=Limits(resources={resource: limit})).propose(Purpose.TRAIN, 20)
    assert len(proposal.candidates) > 5
    assert max(amounts[rows_of(proposal)]) <= 1.25 * limit
    assert proposal.plausible <= 0.5 * len(TABLE.pool)


def test_an_energy_that_the_board_does_not_tell_forbids_nothing():
    """Whether it can have a budget at all is asked before there is a search."""
    own = begun(limits=Limits(resources={ENERGY: 1e-3}), measured=[])
    silent = [dataclasses.replace(TABLE.measured(each), resources={}) for each in TABLE.pool[::4]]
    own.observe(silent)
    assert len(own.propose(Purpose.TRAIN, 3).candidates) == 3


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda own: own.name)
def test_what_does_not_keep_to_the_budget_of_a_resource_takes_nobodys_place(resource):
    """Trained are the most accurate alone, which turned out too large: whatever fits is the first of its kind."""
    amounts = TABLE.resources[resource]
    limit, large = float(np.median(amounts)), np.argsort(amounts)[-12:].tolist()
    fits = begun(trained=large, limits=Limits(resources={resource: limit})).propose(Purpose.TRAIN, 1)
    assert amounts[rows_of(fits)] <= 1.05 * limit
    assert fits.improvement > 10.0 * begun(trained=large).propose(Purpose.TRAIN, 1).improvement


def test_not_being_sure_of_a_latency_is_worth_a_look():
    """Of two structures alike in all that is known, the one that may be faster is expected to gain more."""
    only = TABLE.measured(TABLE.pool[30])
    improvements = []
    for off in (0.01, 0.5):
        own = begun(trained=[1, 20, 40, 60], measured=TABLE.pool)
        others = [each for row, each in enumerate(TABLE.pool) if row not in (1, 20, 30, 40, 60)]
        own.observe([Observation(each, failed=True) for each in others])
        ratio = only.latency_ratio.value
        own.observe(
            [dataclasses.replace(only, latency_ratio=Interval(ratio, ratio - off * ratio, ratio + off * ratio))]
        )
        improvements.append(own.propose(Purpose.TRAIN, 1).improvement)
    assert improvements[1] > improvements[0]


def test_where_nothing_is_faster_than_the_seed_the_most_accurate_are_trained_all_the_same():
    own = begun(measured=[])
    slow = [
        dataclasses.replace(each, latency_ratio=each.latency_ratio.scaled(20.0))
        for each in map(TABLE.measured, TABLE.pool)
    ]
    own.observe(slow)
    first = own.propose(Purpose.TRAIN, 3).candidates
    assert len(first) == 3
    by_structure = {each.candidate: each for each in slow}
    own.observe([dataclasses.replace(by_structure[each], val_top1=TABLE.trained(each).val_top1) for each in first])
    assert len(own.propose(Purpose.TRAIN, 3).candidates) == 3


def test_under_a_budget_the_most_accurate_in_time_counts_more_than_a_front():
    table, limit = Table(synthetic(random_seed=1)), 0.6
    own = GuidedSearch(table.problem(0, Limits(latency_ratio=limit)))
    own.observe([table.measured(each) for each in own.propose(Purpose.MEASURE, 32).candidates])
    trained = []
    for _ in range(2):
        batch = own.propose(Purpose.TRAIN, 6).candidates
        own.observe([table.trained(each) for each in batch])
        trained += [table.rows[each.structure_id] for each in batch]
    latency, top1 = table.true_points.T
    assert max(top1[trained]) > max(top1[latency < limit]) - 0.01


def test_what_cannot_add_anything_is_not_proposed():
    """Nothing is as fast as that."""
    own = begun(trained=[1, 20, 40, 60], limits=Limits(latency_ratio=0.01), measured=TABLE.pool)
    for purpose in Purpose:
        assert own.propose(purpose, 3).candidates == ()


def test_where_nothing_is_left_nothing_is_proposed():
    own = begun()
    own.observe([dataclasses.replace(TABLE.measured(each), failed=True) for each in TABLE.pool])
    for purpose in Purpose:
        assert own.propose(purpose, 3).candidates == ()


def test_the_same_observations_give_the_same_proposals():
    assert search_on(begun(), 8) == search_on(begun(), 8)
    assert search_on(begun(), 8) != search_on(begun(random_seed=3), 8)
