"""What a search sees of a table that `bench/tabular.py` made, also while it grows."""

import numpy as np
import pytest
from search_tables import Table

SEED = {"ratios": [1.0, 1.0], "params": 100, "latency_ratio": 2.0, "latency_ratio_again": 2.2, "top1": 0.9}
TWICE = {
    "ratios": [0.5, 1.0],
    "params": 50,
    "latency_ratio": 1.0,
    "latency_ratio_again": 1.1,
    "low": 0.9,
    "low_again": 1.0,
    "high": 1.2,
    "high_again": 1.3,
    "floor_ratio": 0.95,
    "floor_ratio_again": 1.05,
    "top1": 0.8,
    "val_top1": [0.81, 0.83],
}
ONCE = {"ratios": [0.5, 0.5], "params": 25, "latency_ratio": 0.5, "top1": 0.7, "val_top1": [0.72]}
UNTRAINED = {"ratios": [1.0, 0.5], "params": 60, "latency_ratio": 0.7}


@pytest.fixture
def table():
    return Table([ONCE, SEED, UNTRAINED, TWICE])


def test_the_seed_and_what_is_not_trained_are_no_candidates(table):
    assert [own.ratios for own in table.pool] == [(0.5, 1.0), (0.5, 0.5)]


def test_latencies_are_relative_to_the_seeds(table):
    first, second = (table.measured(table.pool[0], repeat) for repeat in (0, 1))
    assert [own.latency_ratio.value for own in (first, second)] == pytest.approx([1.0 / 2.1, 1.1 / 2.1])
    assert (first.latency_ratio.low, second.latency_ratio.high) == pytest.approx((0.9 / 2.1, 1.3 / 2.1))
    assert (first.floor_ratio, second.floor_ratio) == pytest.approx((0.95 / 2.1, 1.05 / 2.1))
    assert table.true_points[0] == pytest.approx([1.05 / 2.1, 0.8])


def test_a_search_sees_one_training_and_one_that_has_only_one_again(table):
    one, two = table.pool
    assert [table.trained(one, repeat).val_top1 for repeat in (0, 1, 2)] == [0.81, 0.83, 0.81]
    assert [table.trained(two, repeat).val_top1 for repeat in (0, 1)] == [0.72, 0.72]


def test_where_nothing_is_trained_it_says_so():
    with pytest.raises(SystemExit, match="expected rows with top1"):
        Table([UNTRAINED])


def test_guesses_by_refit_are_of_the_searchs_own_seed_and_say_what_the_others_may_have():
    rows = [
        {"ratios": [one, two], "params": 10, "latency_ratio": one, "top1": 0.9, "refit_top1": [one, 0.5 * one]}
        for one in (1.0, 0.75, 0.5, 0.25)
        for two in (1.0, 0.5)
    ]
    table = Table(rows)
    estimated, other = range(len(table.pool) - 1), len(table.pool) - 1
    for repeat, factor in ((0, 1.0), (1, 0.5)):
        prior = table.problem(repeat, estimated=estimated).prior
        assert prior.guess[estimated] == pytest.approx(factor * table.widths[estimated, 0])
        assert prior.seed_guess == factor
        assert prior.guess[other] == pytest.approx(factor * table.widths[other, 0], abs=0.1)
        assert list(np.argsort(prior.guess)) != list(np.argsort(table.problem(repeat).prior.guess))
