"""The statistics of paired blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import latency_ratio, pooled_ratio, quantile_ns

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
    base = latency_ratio(candidate, reference, 0)
    scaled = latency_ratio([[factor * sample for sample in block] for block in candidate], reference, 0)
    expected = base.scaled(factor)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((expected.value, expected.low, expected.high))


@given(PAIRS)
@settings(max_examples=30, deadline=None)
def test_exchanging_the_models_inverts_value_and_bounds(pairs: list[tuple[list[int], list[int]]]) -> None:
    candidate, reference = unzip(pairs)
    there, back = latency_ratio(candidate, reference, 0), latency_ratio(reference, candidate, 0)
    assert (back.value, back.low, back.high) == pytest.approx((1 / there.value, 1 / there.high, 1 / there.low))


@given(PAIRS, st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_value_lies_in_its_interval_and_a_seed_repeats_it(
    pairs: list[tuple[list[int], list[int]]], random_seed: int
) -> None:
    candidate, reference = unzip(pairs)
    ratio = latency_ratio(candidate, reference, random_seed)
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio == latency_ratio(candidate, reference, random_seed)


@given(st.lists(BLOCK, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_model_paired_with_its_own_samples_is_exactly_one(blocks: list[list[int]]) -> None:
    assert latency_ratio(blocks, blocks, 0) == Interval(1.0, 1.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        moments = random.lognormal(0.0, 0.1, 20)
        candidate = noisy(random, 7e5, moments * random.lognormal(0.0, 0.02, 20))
        reference = noisy(random, 1e6, moments * random.lognormal(0.0, 0.02, 20))
        ratio = latency_ratio(candidate, reference, trial)
        covered += ratio.low <= 0.7 <= ratio.high
    assert 180 <= covered <= 197, covered


def test_what_slows_both_models_of_a_pair_does_not_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    moments = np.linspace(1.0, 3.0, 20)  # the machine gets three times as slow meanwhile
    ratio = latency_ratio(noisy(random, 5e5, moments, spread=0.01), noisy(random, 1e6, moments, spread=0.01), 0)
    assert ratio.value == pytest.approx(0.5, rel=0.03)
    assert (ratio.high - ratio.low) / ratio.value < 0.1


def test_outliers_do_not_move_the_ratio() -> None:
    reference = [[100, 101, 102]] * 10
    one_in_each_block = [[50, 51, 1_000_000]] * 10
    three_blocks_of_ten = [[1_000, 1_001, 1_002]] * 3 + [[50, 51, 52]] * 7
    for candidate in (one_in_each_block, three_blocks_of_ten):
        assert latency_ratio(candidate, reference, 0).value == pytest.approx(51 / 101)


def test_pooling_covers_the_truth_as_often_as_it_says() -> None:
    # What moves between measurements is far more than each one's own interval tells.
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = 5.0 * np.exp(random.normal(0.0, 0.2, 6))
        pooled = pooled_ratio([Interval(value, 0.99 * value, 1.01 * value) for value in values])
        covered += pooled.low <= 5.0 <= pooled.high
    # 95 % of 400, give or take two standard deviations.
    assert 371 <= covered <= 389, covered


def test_a_single_measurement_keeps_its_own_interval() -> None:
    assert pooled_ratio([Interval(5.0, 4.0, 6.0)]) == Interval(5.0, 4.0, 6.0)
    with pytest.raises(ValueError, match="at least one"):
        pooled_ratio([])


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
        latency_ratio([[1], [2]], [[1]], 0)
    with pytest.raises(ValueError, match="expected pairs of blocks, got 0 and 0"):
        latency_ratio([], [], 0)


def test_quantiles_are_over_all_samples() -> None:
    assert quantile_ns([[1, 2, 3], [4, 5]], 0.5) == 3
    assert quantile_ns([[1], [101]], 0.99) == pytest.approx(100)


def test_loads_count_alike_and_their_spread_is_in_the_interval() -> None:
    # Two loads, each as steady as can be, 10 % apart: one load's interval knows nothing of that.
    reference = [[1000]] * 8
    candidate = [[500]] * 4 + [[550]] * 4
    ratio = latency_ratio(candidate, reference, 0, loads=2)
    assert ratio.value == pytest.approx(np.sqrt(0.5 * 0.55))
    assert (ratio.low, ratio.high) == pytest.approx((0.5, 0.55))
    with pytest.raises(ValueError, match="multiple of 3 loads"):
        latency_ratio(candidate, reference, 0, loads=3)
