"""The laws of the algebra, against Python's own sets of tuples."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import (
    Filter,
    RatioSet,
    explicit,
    non_decreasing,
    non_increasing,
    one_at_a_time,
    permutations,
    product,
    uniform,
    where,
)

BLOCKS = 3
RATIOS = (1.0, 0.75, 0.5, 0.25)
UNIVERSE = product((RATIOS,) * BLOCKS)
EVERYTHING = frozenset(itertools.product(RATIOS, repeat=BLOCKS))
NOTHING = UNIVERSE - UNIVERSE

offered = st.lists(st.sampled_from(RATIOS), min_size=1, unique=True)
tuples = st.tuples(*[st.sampled_from(RATIOS)] * BLOCKS)

families = st.one_of(
    st.lists(offered, min_size=BLOCKS, max_size=BLOCKS).map(product),
    st.lists(tuples, min_size=1, max_size=12).map(explicit),
    tuples.map(permutations),
    st.tuples(st.sampled_from([uniform, non_increasing, non_decreasing, one_at_a_time]), offered).map(
        lambda own: own[0](own[1], BLOCKS)
    ),
)
ratio_sets = st.recursive(
    families | st.just(NOTHING),
    lambda children: st.tuples(st.sampled_from("|&-"), children, children).map(lambda own: apply(*own)),
    max_leaves=5,
)


def apply(sign, left, right):
    return {"|": left.__or__, "&": left.__and__, "-": left.__sub__}[sign](right)


def widest_first(members):
    return sorted(members, reverse=True)


@given(ratio_sets, ratio_sets)
def test_the_operators_are_those_of_sets(left, right):
    assert set(left | right) == set(left) | set(right)
    assert set(left & right) == set(left) & set(right)
    assert set(left - right) == set(left) - set(right)


@given(ratio_sets, ratio_sets)
def test_union_and_intersection_commute_and_their_sizes_add_up(left, right):
    assert left | right == right | left
    assert left & right == right & left
    assert (left | right).size == left.size + right.size - (left & right).size
    assert (left - right).size == left.size - (left & right).size


@given(ratio_sets, ratio_sets, ratio_sets)
def test_they_associate_and_distribute(first, second, third):
    assert (first | second) | third == first | (second | third)
    assert (first & second) & third == first & (second & third)
    assert first & (second | third) == (first & second) | (first & third)
    assert first | (second & third) == (first | second) & (first | third)
    assert first - (second | third) == (first - second) - third


@given(ratio_sets, ratio_sets)
def test_de_morgan_within_a_universe(left, right):
    assert UNIVERSE - (left | right) == (UNIVERSE - left) & (UNIVERSE - right)
    assert UNIVERSE - (left & right) == (UNIVERSE - left) | (UNIVERSE - right)
    assert UNIVERSE - (UNIVERSE - left) == left


@given(ratio_sets)
def test_a_set_with_itself_and_with_nothing(own):
    assert own | own == own & own == own | NOTHING == own - NOTHING == own
    assert own - own == own & NOTHING == NOTHING
    assert NOTHING.size == 0
    assert list(NOTHING) == []


@given(ratio_sets)
def test_equal_sets_are_equal_values_however_they_were_made(own):
    if own.size:
        again = explicit(list(own)[::-1])
        assert again == own
        assert hash(again) == hash(own)
    assert (own == UNIVERSE) == (set(own) == EVERYTHING)


@given(ratio_sets)
def test_order_count_rank_and_member_agree(own):
    members = list(own)
    assert members == widest_first(set(members))
    assert own.size == len(members)
    assert [own[rank] for rank in range(own.size)] == members
    assert [own.index(ratios) for ratios in members] == list(range(own.size))
    assert {ratios for ratios in EVERYTHING if ratios in own} == set(members)
    with pytest.raises(IndexError):
        own[own.size]
    with pytest.raises(IndexError):
        own[-1]


@given(ratio_sets)
def test_what_is_no_member_has_no_place(own):
    for ratios in [*(EVERYTHING - set(own)), (), (1.0,) * (BLOCKS + 1), (0.3,) * BLOCKS]:
        assert ratios not in own
        with pytest.raises(ValueError, match="not in the set"):
            own.index(ratios)


@given(ratio_sets)
def test_the_alphabets_are_what_occurs_and_the_least_has_the_least_sum(own):
    assert own.alphabets == tuple(tuple(widest_first({ratios[place] for ratios in own})) for place in range(BLOCKS))
    if own.size:
        assert own.least() in own
        assert sum(own.least()) == min(map(sum, own))


@given(ratio_sets, st.lists(st.dictionaries(st.sampled_from(RATIOS), st.sampled_from(RATIOS)), min_size=3, max_size=3))
def test_renaming_is_the_image_of_the_set(own, changes):
    names = [{ratio: change.get(ratio, ratio) for ratio in RATIOS} for change in changes]
    image = {tuple(name[ratio] for name, ratio in zip(names, ratios, strict=True)) for ratios in own}
    assert list(own.renamed(names)) == widest_first(image)


# Filters


def condition(limit: float) -> Filter:
    return Filter(f"sum<={limit}", lambda ratios: sum(ratios) <= limit)


mixed_sets = st.one_of(
    ratio_sets,
    st.tuples(ratio_sets, st.sampled_from([0.75, 1.5, 2.25, 3.0])).map(lambda own: where(own[0], condition(own[1]))),
)


@given(mixed_sets, mixed_sets, mixed_sets, st.sampled_from("|&-"), st.sampled_from("|&-"))
def test_filtered_sets_take_part_in_every_operation(first, second, third, inner, outer):
    python = {"|": set.union, "&": set.intersection, "-": set.difference}
    expected = python[outer](set(first), python[inner](set(second), set(third)))
    combined = apply_any(outer, first, apply_any(inner, second, third))
    assert list(combined) == widest_first(expected)
    assert {ratios for ratios in EVERYTHING if ratios in combined} == expected
    assert combined.estimate_size().value == len(expected)
    assert combined.estimate_size().exact
    assert set(combined.sample(len(EVERYTHING), 0)) == expected


def apply_any(sign, left, right):
    return left | right if sign == "|" else left & right if sign == "&" else left - right


def test_filters_add_up():
    narrow = where(where(UNIVERSE, condition(2.0)), Filter("last", lambda ratios: ratios[-1] == 1.0))
    assert set(narrow) == {own for own in EVERYTHING if sum(own) <= 2.0 and own[-1] == 1.0}


# The families


def test_families_by_hand():
    assert list(product(((0.5, 1.0), (0.25,)))) == [(1.0, 0.25), (0.5, 0.25)]
    assert list(uniform((0.5, 1), 2)) == [(1.0, 1.0), (0.5, 0.5)]
    assert list(non_increasing((0.5, 1), 2)) == [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5)]
    assert list(non_decreasing((0.5, 1), 2)) == [(1.0, 1.0), (0.5, 1.0), (0.5, 0.5)]
    assert list(permutations((0.5, 1, 0.5))) == [(1.0, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 1.0)]
    assert list(one_at_a_time((0.5,), 2)) == [(1.0, 0.5), (0.5, 1.0)]
    assert list(explicit([(0.5, 1), (1, 1), (0.5, 1)])) == [(1.0, 1.0), (0.5, 1.0)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: product(()),
        lambda: product(((1.0,), ())),
        lambda: product(((1.0, 1.0),)),
        lambda: uniform((), 3),
        lambda: uniform((1.5,), 3),
        lambda: uniform((1.0,), 0),
        lambda: non_increasing((float("nan"),), 3),
        lambda: non_decreasing((0.0,), 3),
        lambda: one_at_a_time((-1.0,), 3),
        lambda: permutations(()),
        lambda: permutations((2.0,)),
        lambda: explicit(()),
        lambda: explicit(((1.0,), (1.0, 1.0))),
        lambda: explicit(((1.0, 7.0),)),
        lambda: UNIVERSE | product((RATIOS,)),
    ],
)
def test_what_is_no_set_is_refused(make):
    with pytest.raises(UsageError, match=r"^ratios"):
        make()


def test_nothing_has_no_least():
    with pytest.raises(ValueError, match="empty"):
        NOTHING.least()


def test_a_set_that_would_fill_the_memory_is_refused_with_a_way_out():
    with pytest.raises(UsageError, match="more than 1,000,000 edges") as caught:
        permutations([number / 24 for number in range(1, 25)])
    assert "fewer distinct ratios" in caught.value.hint


def test_sets_cannot_be_changed():
    with pytest.raises(AttributeError):
        UNIVERSE.diagram = NOTHING.diagram
    assert isinstance(UNIVERSE, RatioSet)
