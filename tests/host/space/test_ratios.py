from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import UsageError
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
    assert space.size == len(candidates) == len({candidate.structure_id for candidate in candidates}) == 256
    assert [candidate.ratios for candidate in candidates] == list(itertools.product(RATIOS, repeat=4))


def test_candidate_widths_follow_its_superblocks_ratio() -> None:
    candidate = SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 0.5, 0.25, 0.75))
    assert candidate.widths == (("a.0", 64), ("a.1", 64), ("b.0", 64), ("c.0", 64), ("d.0", 384))


def test_ratio_tuples_that_give_one_network_are_one_structure_and_the_first_stands() -> None:
    space = SearchSpace(SEED, (block("a", 16),), ((0.6, 0.5, 1.0, 0.4),), 8)
    assert space.size == 4
    assert [candidate.ratios for candidate in space.candidates()] == [(0.6,), (1.0,)]


def test_candidates_are_drawn_one_at_a_time() -> None:
    huge = SearchSpace.uniform(SEED, BLOCKS * 10, RATIOS, 8)
    assert huge.size == 4**40
    assert len(list(itertools.islice(huge.candidates(), 5))) == 5


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_ratios_outside_are_refused_by_superblock(ratio: float) -> None:
    with pytest.raises(UsageError, match=r"ratios of b: expected each in \(0, 1\]"):
        SearchSpace(SEED, BLOCKS[:2], ((1.0,), (0.5, ratio)), 8)
    with pytest.raises(UsageError):
        SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 1.0, 1.0, ratio))


@pytest.mark.parametrize(
    ("ratio_sets", "step", "says"),
    [
        (((1.0,), ()), 8, "ratios of b: expected at least one"),
        (((1.0,), (0.5, 0.5)), 8, "ratios of b: expected no repeats"),
        (((1.0,),), 8, "one set for each of a, b"),
        (((1.0,), (0.5,)), 0, "channel step"),
    ],
)
def test_what_is_no_space_is_refused(ratio_sets: tuple[tuple[float, ...], ...], step: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SearchSpace(SEED, BLOCKS[:2], ratio_sets, step)


def test_a_candidate_needs_one_ratio_for_each_superblock() -> None:
    with pytest.raises(UsageError, match="expected 4"):
        SearchSpace.uniform(SEED, BLOCKS, RATIOS, 8).candidate((1.0, 0.5))
