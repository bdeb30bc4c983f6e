"""Cutting a sequence into nearly equal shares, against every other way to cut it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbp_host.errors import UsageError
from scbp_host.space.cutting import equal_cuts

WEIGHTS = st.lists(st.integers(0, 1000), min_size=1, max_size=9)


def sums(weights: list[int], cuts: tuple[int, ...]) -> list[int]:
    return [sum(weights[start:end]) for start, end in itertools.pairwise((0, *cuts, len(weights)))]


def badness(weights: list[int], cuts: tuple[int, ...]) -> tuple[float, float]:
    """Return the largest deviation from an equal share, and the sum of the squares of all."""
    found = sums(weights, cuts)
    deviations = [abs(own - sum(weights) / len(found)) for own in found]
    return max(deviations), sum(own**2 for own in deviations)


@settings(deadline=None)
@given(WEIGHTS, st.data())
def test_no_other_cut_is_better(weights: list[int], data: st.DataObject) -> None:
    bins = data.draw(st.integers(1, len(weights)))
    cuts = equal_cuts(weights, bins)
    assert len(cuts) == bins - 1
    assert list(cuts) == sorted(set(cuts)), "contiguous, and no bin is empty"
    assert all(0 < cut < len(weights) for cut in cuts)
    others = itertools.combinations(range(1, len(weights)), bins - 1)
    largest, squares = min(badness(weights, other) for other in others)
    assert badness(weights, cuts) == pytest.approx((largest, squares))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=30), st.data())
def test_every_number_of_bins_up_to_the_items_is_possible(weights: list[float], data: st.DataObject) -> None:
    bins = data.draw(st.integers(1, len(weights)))
    cuts = equal_cuts(weights, bins)
    edges = (0, *cuts, len(weights))
    assert all(start < end for start, end in itertools.pairwise(edges))
    assert len(edges) == bins + 1


@settings(deadline=None)
@given(WEIGHTS, st.integers(1, 1000))
def test_only_the_proportions_count(weights: list[int], factor: int) -> None:
    bins = min(3, len(weights))
    scaled = [weight * factor for weight in weights]
    assert badness(weights, equal_cuts(scaled, bins)) == pytest.approx(badness(weights, equal_cuts(weights, bins)))


def test_one_item_that_outweighs_all_does_not_leave_the_rest_to_chance() -> None:
    weights = [1] * 12 + [100]
    assert sums(weights, equal_cuts(weights, 4)) == [4, 4, 4, 100]


def test_greedy_filling_would_do_worse() -> None:
    # Filled from the left until a share of 10 is reached, the bins would be 6 + 5, 6 + 5, 8.
    assert sums([6, 5, 6, 5, 8], equal_cuts([6, 5, 6, 5, 8], 3)) == [11, 11, 8]
    assert sums([1, 9, 9, 1, 10], equal_cuts([1, 9, 9, 1, 10], 3)) == [10, 10, 10]


@pytest.mark.parametrize("bins", [0, 4, -1])
def test_more_bins_than_items_are_refused_with_the_most_there_can_be(bins: int) -> None:
    with pytest.raises(UsageError, match=f"expected from 1 to 3, the number of channel groups, got {bins}"):
        equal_cuts([1, 2, 3], bins)
