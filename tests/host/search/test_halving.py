from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbp_host.search.halving import goes_on, lanes, rungs


@pytest.mark.parametrize(
    ("first", "epochs", "heights"), [(2, 8, [2, 4]), (1, 8, [1, 2, 4]), (3, 8, [3, 6]), (8, 8, []), (5, 1, [])]
)
def test_rungs_double_below_the_last_epoch(first: int, epochs: int, heights: list[int]) -> None:
    assert rungs(first, epochs) == heights


@given(st.lists(st.sampled_from([0.9, 0.91, 0.95, 0.99]), min_size=1, max_size=12), st.integers(1, 9))
def test_exactly_the_better_half_goes_on_and_of_equals_the_first(scores: list[float], epochs: int) -> None:
    onward = goes_on(scores, epochs)
    best = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[: max(1, len(scores) // 2)]
    assert [row for row, own in enumerate(onward) if own] == sorted(best)


def test_who_arrived_first_has_no_advantage() -> None:
    scores = [position / 24 for position in range(24)]
    shuffled = random.Random(1).sample(scores, 24)
    for order in (scores, scores[::-1], shuffled):
        assert sorted(own for own, on in zip(order, goes_on(order, 2), strict=True) if on) == scores[12:]


def test_lanes_hold_neighbours_in_latency() -> None:
    assert lanes([0.9, 0.1, 0.5, 0.2, 0.8, 0.4], 3) == [2, 0, 1, 0, 2, 1]
    assert lanes([0.9, 0.1, 0.5], 1) == [0, 0, 0]
    assert lanes([], 2) == []


@given(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=30), st.integers(1, 8))
def test_lanes_are_of_nearly_equal_sizes(latencies: list[float], count: int) -> None:
    sizes = [lanes(latencies, count).count(own) for own in range(count)]
    assert max(sizes) - min(sizes) <= 1
