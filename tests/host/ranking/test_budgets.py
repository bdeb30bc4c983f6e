import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.ranking.budgets import Budgets, choose_best, misses
from scbp_host.ranking.pareto import Objectives

SEED_TOP1 = 0.99


def point(top1=0.985, latency=1.0, noise=0.02, memory=50.0, size=1000, energy=None):
    amounts = {MEMORY: memory} if energy is None else {MEMORY: memory, ENERGY: energy}
    return Objectives(top1, Interval(latency, latency * (1 - noise), latency * (1 + noise)), amounts, size)


def test_the_upper_bound_of_a_latency_must_be_within_the_budget():
    assert not misses(point(latency=0.97), SEED_TOP1, Budgets(latency_ms=1.0))
    (miss,) = misses(point(latency=0.99), SEED_TOP1, Budgets(latency_ms=1.0))
    assert miss.text == "latency up to 1.01 ms, budget 1 ms"


def test_a_drop_of_exactly_the_budget_is_allowed():
    assert not misses(point(top1=0.98), SEED_TOP1, Budgets(accuracy_drop_points=1.0))
    (miss,) = misses(point(top1=0.9799), SEED_TOP1, Budgets(accuracy_drop_points=1.0))
    assert miss.text == "validation top-1 1.01 points below the seed, budget 1"


def test_no_drop_at_all_can_be_asked_for():
    assert not misses(point(top1=0.99), SEED_TOP1, Budgets(accuracy_drop_points=0.0))
    assert misses(point(top1=0.98), SEED_TOP1, Budgets(accuracy_drop_points=0.0))


def test_the_worst_miss_comes_first():
    found = misses(point(latency=4.0, memory=60.0, top1=0.55), SEED_TOP1, Budgets(1.0, {MEMORY: 50.0}, 40.0))
    assert [miss.text.split()[0] for miss in found] == ["latency", "peak", "validation"]
    assert [miss.excess for miss in found] == sorted((miss.excess for miss in found), reverse=True)


def test_without_a_latency_budget_the_fastest_that_is_accurate_enough_wins():
    contenders = [point(latency=0.8), point(latency=0.5, top1=0.981), point(latency=0.2, top1=0.9)]
    verdict = choose_best(contenders, SEED_TOP1, Budgets(accuracy_drop_points=1.0))
    assert verdict.best == 1
    assert verdict.reason == "the fastest of 2 candidates that meet every budget, out of 3 trained"


def test_of_those_whose_latencies_overlap_the_most_accurate_wins():
    contenders = [point(latency=0.50, top1=0.981), point(latency=0.51, top1=0.986), point(latency=0.6, top1=0.99)]
    verdict = choose_best(contenders, SEED_TOP1, Budgets(accuracy_drop_points=1.0))
    assert verdict.best == 1
    assert "2 tie in latency" in verdict.reason


def test_of_equals_in_accuracy_the_faster_and_then_the_smaller_wins():
    contenders = [point(latency=0.51), point(latency=0.50, size=900), point(latency=0.50, size=800)]
    assert choose_best(contenders, SEED_TOP1, Budgets(accuracy_drop_points=1.0)).best == 2


def test_with_a_latency_budget_fast_enough_is_fast_enough():
    contenders = [point(latency=0.2, top1=0.95), point(latency=0.9, top1=0.97), point(latency=2.0, top1=0.99)]
    verdict = choose_best(contenders, SEED_TOP1, Budgets(latency_ms=1.0))
    assert verdict.best == 1
    assert verdict.reason.startswith("the most accurate of 2 candidates")


def test_the_nearest_miss_is_named_where_nothing_fits():
    contenders = [point(memory=300.0), point(memory=55.0), point(memory=90.0)]
    verdict = choose_best(contenders, SEED_TOP1, Budgets(resources={MEMORY: 50.0}))
    assert verdict.best is None
    assert verdict.reason == "nothing meets the budgets; the nearest miss: peak memory 55.0 MB, budget 50 MB"


def test_energy_is_held_like_memory_and_shown_to_three_digits():
    (miss,) = misses(point(energy=0.5123), SEED_TOP1, Budgets(resources={MEMORY: 60.0, ENERGY: 0.5}))
    assert miss.text == "energy of one inference 0.512 mJ, budget 0.5 mJ"
    assert miss.excess == pytest.approx(0.0246)
    assert not misses(point(energy=0.5), SEED_TOP1, Budgets(resources={ENERGY: 0.5}))


def test_an_energy_that_is_not_told_is_the_farthest_miss_of_all():
    silent, far = point(energy=None), point(energy=1000.0)
    verdict = choose_best([silent, far], SEED_TOP1, Budgets(resources={ENERGY: 0.5}))
    assert verdict.reason.endswith("the nearest miss: energy of one inference 1000.0 mJ, budget 0.5 mJ")
    alone = choose_best([silent], SEED_TOP1, Budgets(resources={ENERGY: 0.5}))
    assert alone.best is None
    assert alone.reason.endswith("energy of one inference not told by the board, budget 0.5 mJ")


def test_a_candidate_is_as_near_as_its_worst_miss():
    near_in_one_far_in_other = point(latency=1.05, memory=500.0)
    verdict = choose_best([near_in_one_far_in_other, point(latency=1.5)], SEED_TOP1, Budgets(1.0, {MEMORY: 100.0}))
    assert "latency up to 1.53 ms" in verdict.reason


def test_no_contender_at_all_is_said_so():
    verdict = choose_best([], SEED_TOP1, Budgets())
    assert verdict.best is None
    assert "no candidate was trained" in verdict.reason


contenders = st.lists(
    st.builds(
        point,
        top1=st.integers(90, 100).map(lambda percent: percent / 100),
        latency=st.floats(0.1, 2.0),
        noise=st.floats(0.0, 0.2),
        memory=st.floats(10, 100),
        size=st.integers(1, 9),
        energy=st.none() | st.floats(1, 10),
    ),
    max_size=8,
)
limits = st.builds(
    Budgets,
    st.none() | st.floats(0.1, 2.0),
    st.fixed_dictionaries({}, optional={MEMORY: st.floats(10, 100), ENERGY: st.floats(1, 10)}),
    st.none() | st.floats(0, 9),
)


@given(contenders, limits)
def test_the_best_meets_every_budget_and_is_there_wherever_one_does(points, budgets):
    verdict = choose_best(points, SEED_TOP1, budgets)
    feasible = [index for index, own in enumerate(points) if not misses(own, SEED_TOP1, budgets)]
    assert (verdict.best in feasible) if feasible else verdict.best is None


@pytest.mark.parametrize("budgets", [Budgets(), Budgets(latency_ms=3.0)])
def test_the_order_of_the_contenders_does_not_matter(budgets):
    ahead = [point(latency=0.5, top1=0.98), point(latency=0.505, top1=0.985), point(latency=0.7, top1=0.99)]
    first = choose_best(ahead, SEED_TOP1, budgets).best
    last = choose_best(ahead[::-1], SEED_TOP1, budgets).best
    assert ahead[first] == ahead[::-1][last]
