"""The statistics of paired blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import (
    floor_ratio,
    interval_of_loads,
    interval_of_median,
    latency_ratio,
    quantile_interval_ns,
    quantile_ns,
)

BLOCK = st.lists(st.integers(1_000, 1_000_000), min_size=1, max_size=9)
PAIRS = st.lists(st.tuples(BLOCK, BLOCK), min_size=1, max_size=8)


def unzip(pairs: list[tuple[list[int], list[int]]]) -> tuple[list[list[int]], list[list[int]]]:
    return [candidate for candidate, _ in pairs], [reference for _, reference in pairs]


def noisy(
    random: np.random.Generator, typical_ns: float, moments: np.ndarray, runs: int = 15, spread: float = 0.05
) -> list[list[int]]:
    """Blocks of one model: ``moments`` is how slow the machine was in each."""
    return [[int(typical_ns * moment * random.lognormal(0.0, spread)) for _ in range(runs)] for moment in moments]


@given(PAIRS, st.integers(2, 50))
@settings(max_examples=30, deadline=None)
def test_a_candidate_that_is_so_many_times_slower(pairs: list[tuple[list[int], list[int]]], factor: int) -> None:
    candidate, reference = unzip(pairs)
    base = latency_ratio(candidate, reference)
    scaled = latency_ratio([[factor * sample for sample in block] for block in candidate], reference)
    expected = base.scaled(factor)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((expected.value, expected.low, expected.high))


@given(PAIRS)
@settings(max_examples=30, deadline=None)
def test_exchanging_the_models_inverts_value_and_bounds(pairs: list[tuple[list[int], list[int]]]) -> None:
    candidate, reference = unzip(pairs)
    there, back = latency_ratio(candidate, reference), latency_ratio(reference, candidate)
    assert (back.value, back.low, back.high) == pytest.approx((1 / there.value, 1 / there.high, 1 / there.low))


@given(PAIRS, st.sampled_from([1, 2, 8]))
@settings(max_examples=30, deadline=None)
def test_the_value_lies_in_its_interval(pairs: list[tuple[list[int], list[int]]], loads: int) -> None:
    candidate, reference = unzip(pairs * loads)
    ratio = latency_ratio(candidate, reference, loads=loads)
    assert ratio.low <= ratio.value <= ratio.high


@given(st.lists(BLOCK, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_model_paired_with_its_own_samples_is_exactly_one(blocks: list[list[int]]) -> None:
    assert latency_ratio(blocks, blocks) == Interval(1.0, 1.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        moments = random.lognormal(0.0, 0.1, 20)
        candidate = noisy(random, 7e5, moments * random.lognormal(0.0, 0.02, 20))
        reference = noisy(random, 1e6, moments * random.lognormal(0.0, 0.02, 20))
        ratio = latency_ratio(candidate, reference)
        covered += ratio.low <= 0.7 <= ratio.high
    assert 180 <= covered <= 197, covered


def test_what_slows_both_models_of_a_pair_does_not_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    moments = np.linspace(1.0, 3.0, 20)  # the machine gets three times as slow meanwhile
    ratio = latency_ratio(noisy(random, 5e5, moments, spread=0.01), noisy(random, 1e6, moments, spread=0.01))
    assert ratio.value == pytest.approx(0.5, rel=0.03)
    assert (ratio.high - ratio.low) / ratio.value < 0.1


def test_outliers_do_not_move_the_ratio() -> None:
    reference = [[100, 101, 102]] * 10
    one_in_each_block = [[50, 51, 1_000_000]] * 10
    three_blocks_of_ten = [[1_000, 1_001, 1_002]] * 3 + [[50, 51, 52]] * 7
    for candidate in (one_in_each_block, three_blocks_of_ten):
        assert latency_ratio(candidate, reference).value == pytest.approx(51 / 101)


def test_a_quotient_is_as_uncertain_as_both_its_parts() -> None:
    random = np.random.default_rng(0)
    candidate, seed = Interval(0.9, 0.85, 0.96), Interval(4.5, 4.0, 5.2)
    quotient = candidate.over(seed)
    assert quotient.value == pytest.approx(0.2)

    # By simulation: each side of each interval is 1.96 deviations of a logarithm.
    def drawn(own: Interval) -> np.ndarray:
        deviations = random.normal(size=200_000)
        side = np.where(deviations > 0, np.log(own.high / own.value), np.log(own.value / own.low))
        return own.value * np.exp(deviations * side / 1.96)

    low, high = np.quantile(drawn(candidate) / drawn(seed), [0.025, 0.975])
    assert (quotient.low, quotient.high) == pytest.approx((low, high), rel=0.01)


def test_pairs_are_needed() -> None:
    with pytest.raises(ValueError, match="expected pairs of blocks, got 2 and 1"):
        latency_ratio([[1], [2]], [[1]])
    with pytest.raises(ValueError, match="expected pairs of blocks, got 0 and 0"):
        latency_ratio([], [])


def test_quantiles_are_over_all_samples() -> None:
    assert quantile_ns([[1, 2, 3], [4, 5]], 0.5) == 3
    assert quantile_ns([[1], [101]], 0.99) == pytest.approx(100)


def test_a_quantile_is_as_sure_as_the_loads_agree() -> None:
    random = np.random.default_rng(0)
    steady = noisy(random, 1e6, np.ones(32), spread=0.01)
    moving = noisy(random, 1e6, np.repeat(random.lognormal(0.0, 0.1, 8), 4), spread=0.01)
    for fraction in (0.5, 0.9):
        sure, unsure = (quantile_interval_ns(own, fraction, loads=8) for own in (steady, moving))
        assert sure.value == quantile_ns(steady, fraction)
        assert sure.low < sure.value < sure.high
        assert sure.relative_width < 0.03 < unsure.relative_width


def test_loads_count_alike_and_their_spread_is_in_the_interval() -> None:
    # Four loads, each as steady as can be, 10 % apart: one load's interval knows nothing of that.
    reference = [[1000]] * 8
    candidate = [[500]] * 4 + [[550]] * 4
    ratio = latency_ratio(candidate, reference, loads=4)
    assert ratio.value == pytest.approx(np.sqrt(0.5 * 0.55))
    logs = np.log([0.5, 0.5, 0.55, 0.55])
    expected = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs))
    assert (ratio.low, ratio.high) == pytest.approx(np.exp(expected))
    with pytest.raises(ValueError, match="multiple of 3 loads"):
        latency_ratio(candidate, reference, loads=3)


def test_a_load_in_ten_that_is_far_off_hardly_moves_or_widens_anything() -> None:
    random = np.random.default_rng(0)
    quiet = random.normal(0.0, 0.01, 20)
    hit = np.append(quiet[:18], [0.3, 0.4])
    without, with_hits = interval_of_loads(quiet), interval_of_loads(hit)
    assert with_hits.value == pytest.approx(without.value, abs=0.005)
    assert with_hits.relative_width < 2 * without.relative_width
    plain = stats.t.interval(0.95, 19, hit.mean(), stats.sem(hit))
    assert with_hits.relative_width < (plain[1] - plain[0]) / 4


def test_six_pairs_are_the_fewest_that_bound_a_median() -> None:
    logs = np.log(np.arange(1.0, 7.0))
    assert interval_of_median(logs) == Interval(pytest.approx(np.sqrt(12)), pytest.approx(1.0), pytest.approx(6.0))
    twenty = interval_of_median(np.log(np.arange(1.0, 21.0)))
    # Ranks 6 and 15 of 20: between them the median lies with 95.9 %.
    assert (twenty.low, twenty.high) == pytest.approx((6.0, 15.0))


def test_the_fast_runs_tell_the_ratio_where_the_slow_ones_hide_it() -> None:
    """Bursts in most runs of the candidate alone, and a clock that changes from pair to pair."""
    random = np.random.default_rng(0)
    candidate, reference = [], []
    for clock in random.uniform(1.0, 1.6, 16):
        bursts = np.where(random.random(20) < 0.6, random.uniform(1.2, 3.0, 20), 1.0)
        candidate.append((700_000 * clock * bursts).astype(int).tolist())
        reference.append((1_000_000 * clock * random.uniform(1.0, 1.01, 20)).astype(int).tolist())
    assert floor_ratio(candidate, reference) == pytest.approx(0.7, rel=0.01)
    assert latency_ratio(candidate, reference).value > 0.8
