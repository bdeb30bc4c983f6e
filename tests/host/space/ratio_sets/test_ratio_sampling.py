"""Drawing: without repeats, uniformly, the same for one seed, and from sets that no memory could hold."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scbp_host.space.ratio_sets import (
    Filter,
    explicit,
    non_increasing,
    permutations,
    product,
    uniform,
    where,
)
from scbp_host.space.ratio_sets.filters import ESTIMATE_DRAWS, REJECTION_LIMIT
from scbp_host.space.ratio_sets.sampling import shuffled_range

TEN = tuple(number / 10 for number in range(1, 11))
TWENTY_FIVE = tuple(number / 25 for number in range(1, 26))
FIFTEEN = tuple(number / 15 for number in range(1, 16))
HUGE = {
    "product": (product((TEN,) * 12), 10**12),
    "monotone": (non_increasing(TWENTY_FIVE, 20), math.comb(44, 20)),
    "permutations": (permutations(FIFTEEN), math.factorial(15)),
    "difference": (product((TEN,) * 12) - non_increasing(TEN, 12), 10**12 - math.comb(21, 9)),
    "union": (non_increasing(TWENTY_FIVE, 20) | uniform((0.2, 0.5), 20), math.comb(44, 20) + 1),
}


@given(st.integers(0, 200), st.integers(0, 2**32))
def test_a_shuffled_range_is_a_permutation_that_its_seed_decides(size, seed):
    order = list(shuffled_range(size, seed))
    assert sorted(order) == list(range(size))
    assert list(shuffled_range(size, seed)) == order


def test_every_order_of_a_range_is_as_likely():
    draws = 12_000
    seen = Counter(tuple(shuffled_range(4, seed)) for seed in range(draws))
    assert len(seen) == math.factorial(4)
    assert stats.chisquare(list(seen.values())).pvalue > 0.001


def test_members_are_drawn_uniformly():
    own = (product(((1.0, 0.75, 0.5),) * 3) - uniform((0.5,), 3)) | explicit([(0.1, 0.2, 0.3)])
    seen = Counter(ratios for seed in range(6000) for ratios in own.sample(3, seed))
    assert set(seen) == set(own)
    assert stats.chisquare(list(seen.values())).pvalue > 0.001


def test_every_ratio_of_a_huge_monotone_set_is_drawn_as_often_as_it_occurs():
    """The share of tuples that begin at their largest ratio is known: C(43, 19) of C(44, 20)."""
    own, size = HUGE["monotone"]
    drawn = own.sample(4000, 7)
    expected = math.comb(43, 19) / size
    hits = sum(ratios[0] == 1.0 for ratios in drawn)
    assert stats.binomtest(hits, len(drawn), expected).pvalue > 0.001


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_set_is_counted_drawn_and_walked_without_being_held(kind):
    own, size = HUGE[kind]
    assert own.size == size
    tracemalloc.start()
    sample = own.sample(1000, 0)
    first = sum(1 for _ in itertools.islice(own, 10_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(sample)) == 1000
    assert first == 10_000
    assert peak < 10_000_000
    assert sample == own.sample(1000, 0) != own.sample(1000, 1)
    assert all(ratios in own for ratios in sample)
    ranks = [0, 1, size // 3, size - 1]
    assert [own.index(own[rank]) for rank in ranks] == ranks
    assert own[0] == next(iter(own))


def test_a_sample_of_more_than_there_is_is_everything():
    own = uniform(TEN, 4)
    assert sorted(own.sample(100, 3)) == sorted(own)


def half(ratios):
    return ratios[0] <= 0.5


def test_a_filtered_set_is_drawn_by_rejection_and_estimated_with_an_interval():
    own = where(product((TEN,) * 6), Filter("half", half))
    sample = own.sample(500, 0)
    assert len(set(sample)) == 500
    assert all(half(ratios) for ratios in sample)
    covered = 0
    for seed in range(12):
        size = own.estimate_size(seed)
        assert not size.exact
        assert size.low < size.value < size.high
        assert (size.high - size.low) / 10**6 < 0.032
        covered += size.low <= 5 * 10**5 <= size.high
    assert covered >= 10


def test_a_small_filtered_set_is_counted():
    own = where(product(((1.0, 0.5, 0.25, 0.1),) * 6), Filter("half", half))
    assert own.base.size == ESTIMATE_DRAWS
    assert own.estimate_size().exact
    assert own.estimate_size().value == ESTIMATE_DRAWS * 3 // 4


def test_drawing_from_next_to_nothing_ends():
    tried = []
    own = where(product((TEN,) * 6), Filter("never", lambda ratios: bool(tried.append(ratios))))
    assert own.sample(1, 0) == []
    assert len(tried) == REJECTION_LIMIT
    size = own.estimate_size()
    assert size.value == size.low == 0 < size.high
