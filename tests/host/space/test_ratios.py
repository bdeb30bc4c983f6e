from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import (
    AnyRatioSet,
    Filter,
    SetSize,
    explicit,
    non_increasing,
    product,
    uniform,
    where,
)
from scbp_host.space.ratios import SearchSpace, snap_width

SEED = SeedSpec("resnet18", 10, (3, 32, 32))
RATIOS = (1.0, 0.75, 0.5, 0.25)


def block(name: str, *channels: int) -> Superblock:
    groups = tuple(ChannelGroup(f"{name}.{i}", width, (f"{name}.{i}",)) for i, width in enumerate(channels))
    return Superblock(name, (8, 8), groups)


BLOCKS = (block("a", 64, 64), block("b", 128), block("c", 256), block("d", 512))


@pytest.mark.parametrize(
    ("channels", "ratio", "step", "width"),
    [
        (64, 1.0, 8, 64),
        (64, 0.5, 8, 32),
        (64, 0.3, 8, 16),  # 19.2: 16 is nearer than 24
        (64, 0.32, 8, 24),  # 20.48
        (64, 0.01, 8, 8),  # one step at least
        (10, 1.0, 8, 10),  # the seed's own width, whatever the step
        (14, 0.9, 8, 8),  # 16 is nearest, but wider than the seed
        (6, 0.5, 8, 6),  # no multiple of 8 fits: whole
    ],
)
def test_snap_width(channels: int, ratio: float, step: int, width: int) -> None:
    assert snap_width(channels, ratio, step) == width


@given(
    channels=st.integers(1, 4096),
    ratio=st.floats(0.0, 1.0, exclude_min=True),
    step=st.integers(1, 64),
)
def test_a_width_is_the_nearest_multiple_that_fits_or_the_seeds_own(channels: int, ratio: float, step: int) -> None:
    width = snap_width(channels, ratio, step)
    multiples = range(step, channels + 1, step)
    if ratio == 1.0 or not multiples:
        assert width == channels
    else:
        assert width in multiples
        assert math.isclose(
            abs(width - ratio * channels), min(abs(other - ratio * channels) for other in multiples), abs_tol=1e-6
        )


def test_four_ratios_in_four_superblocks_are_256_structures() -> None:
    space = SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8)
    candidates = list(space.candidates())
    assert space.estimate_size() == SetSize(256, 256, 256)
    assert len(candidates) == len({candidate.structure_id for candidate in candidates}) == 256
    assert [candidate.ratios for candidate in candidates] == list(itertools.product(RATIOS, repeat=4))


def test_candidate_widths_follow_its_superblocks_ratio() -> None:
    candidate = SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 0.5, 0.25, 0.75))
    assert candidate.widths == (("a.0", 64), ("a.1", 64), ("b.0", 64), ("c.0", 64), ("d.0", 384))


def test_ratio_tuples_that_give_one_network_are_one_structure_and_the_first_stands() -> None:
    space = SearchSpace.uniform(SEED, (block("a", 16),), (0.6, 0.5, 1.0, 0.4), 8)
    assert space.estimate_size().value == 2
    assert [candidate.ratios for candidate in space.candidates()] == [(1.0,), (0.6,)]
    assert [candidate.ratios for candidate in space.derived()] == [(0.6,)]


def test_candidates_are_drawn_one_at_a_time() -> None:
    huge = SearchSpace.uniform(SEED, BLOCKS * 10, RATIOS, 8)
    assert huge.estimate_size() == SetSize(4**40, 4**40, 4**40)
    assert len(list(itertools.islice(huge.candidates(), 5))) == 5
    drawn = huge.sample(50, 0)
    assert len({candidate.structure_id for candidate in drawn}) == 50
    assert drawn == huge.sample(50, 0) != huge.sample(50, 1)


# On a step of 8, superblocks of 8 to 48 channels tell few of these apart.
CLOSE = (1.0, 0.9, 0.8, 0.6, 0.55, 0.4, 0.3, 0.1)
NARROW = (block("a", 16, 24), block("b", 8), block("c", 48))


@given(
    st.lists(st.tuples(*[st.sampled_from(CLOSE)] * len(NARROW)), min_size=1, max_size=40, unique=True),
    st.sampled_from([None, 0.8, 1.5, 2.4]),
)
def test_every_network_is_there_once_by_the_first_ratios_that_give_it(
    tuples: list[tuple[float, ...]], limit: float | None
) -> None:
    chosen: AnyRatioSet = explicit(tuples)
    if limit is not None:
        chosen = where(chosen, Filter("sum", lambda ratios: sum(ratios) <= limit))
    space = SearchSpace(SEED, NARROW, chosen, 8)
    networks: dict[str, tuple[float, ...]] = {}
    for ratios in chosen:
        networks.setdefault(space.candidate(ratios).structure_id, ratios)

    assert {own.structure_id: own.ratios for own in space.candidates()} == networks
    assert space.estimate_size().value == len(networks)
    seed_id = space.candidate((1.0,) * 3).structure_id
    derived = [own.structure_id for own in space.derived()]
    assert sorted(derived) == sorted(set(networks) - {seed_id})
    assert {own.structure_id for own in space.sample(len(networks), 3)} == set(derived)


def test_the_narrowest_is_the_least_sum_of_ratios() -> None:
    tapered = SearchSpace(SEED, BLOCKS, non_increasing(RATIOS, 4) - uniform((0.25,), 4), 8)
    narrowest = tapered.narrowest()
    assert narrowest is not None
    assert narrowest.ratios == (0.5, 0.25, 0.25, 0.25)
    refused = where(tapered.structures, Filter("wide", lambda ratios: sum(ratios) > 2))
    assert SearchSpace(SEED, BLOCKS, refused, 8).narrowest() is None
    assert SearchSpace(SEED, BLOCKS, uniform((1.0,), 4), 8).narrowest() is None


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_ratios_outside_are_refused_by_superblock(ratio: float) -> None:
    with pytest.raises(UsageError, match=r"ratios of superblock 2: expected each in \(0, 1\]"):
        product(((1.0,), (0.5, ratio)))
    with pytest.raises(UsageError):
        SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 1.0, 1.0, ratio))


@pytest.mark.parametrize(
    ("ratio_set", "step", "says"),
    [
        (uniform((1.0,), 1), 8, "one for each of a, b; got 1"),
        (uniform((1.0,), 2), 0, "channel step"),
        (uniform((1.0,), 2) - uniform((1.0,), 2), 8, "the set is empty"),
    ],
)
def test_what_is_no_space_is_refused(ratio_set: AnyRatioSet, step: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SearchSpace(SEED, BLOCKS[:2], ratio_set, step)


def test_a_candidate_needs_one_ratio_for_each_superblock() -> None:
    with pytest.raises(UsageError, match="expected 4"):
        SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 0.5))
