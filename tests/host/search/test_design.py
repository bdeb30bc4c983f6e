import numpy as np
import pytest

from scbp_host.search.design import maximin

GRID = np.asarray([(x, y) for x in range(6) for y in range(6)], dtype=np.float64)


def spread(points, chosen):
    """Return the smallest distance between two chosen points."""
    picked = points[chosen]
    gaps = np.linalg.norm(picked[:, None] - picked[None], axis=2)
    return gaps[~np.eye(len(picked), dtype=bool)].min()


@pytest.mark.parametrize(
    "points", [GRID, np.repeat(GRID[:5], 3, axis=0), np.zeros((7, 2))], ids=["grid", "twins", "one"]
)
def test_no_row_is_chosen_twice(points):
    chosen = maximin(points, len(points), 2)
    assert sorted(chosen) == list(range(len(points)))
    assert chosen[0] == 2


def test_more_than_there_are_gives_all():
    assert sorted(maximin(GRID, 100, 0)) == list(range(len(GRID)))


def test_a_prefix_is_the_smaller_spread():
    assert maximin(GRID, 20, 0)[:7] == maximin(GRID, 7, 0)


def test_the_corners_come_first():
    corners = {0, 5, 30, 35}
    assert set(maximin(GRID, 4, 0)) == corners


@pytest.mark.parametrize("count", [3, 5, 9, 15])
def test_it_spreads_wider_than_chance(count):
    random = np.random.default_rng(count)
    by_chance = [spread(GRID, random.permutation(len(GRID))[:count]) for _ in range(200)]
    assert spread(GRID, maximin(GRID, count, 0)) >= np.quantile(by_chance, 0.99)
