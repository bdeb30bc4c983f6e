import itertools

import numpy as np
import pytest

from scbp_host.search.design import covering, maximin

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
    chosen = maximin(points, len(points), [2])
    assert sorted(chosen) == list(range(len(points)))
    assert chosen[0] == 2


def test_more_than_there_are_gives_all():
    assert sorted(maximin(GRID, 100, [0])) == list(range(len(GRID)))


def test_a_prefix_is_the_smaller_spread():
    assert maximin(GRID, 20, [0])[:7] == maximin(GRID, 7, [0])


def test_the_corners_come_first():
    corners = {0, 5, 30, 35}
    assert set(maximin(GRID, 4, [0])) == corners


@pytest.mark.parametrize("count", [3, 5, 9, 15])
def test_it_spreads_wider_than_chance(count):
    random = np.random.default_rng(count)
    by_chance = [spread(GRID, random.permutation(len(GRID))[:count]) for _ in range(200)]
    assert spread(GRID, maximin(GRID, count, [0])) >= np.quantile(by_chance, 0.99)


def product(*alphabets):
    return np.asarray(list(itertools.product(*alphabets)), dtype=np.float64)


def pairs(points, one, two):
    return {(row[one], row[two]) for row in points.tolist()}


FOUR, FIVE = (0.25, 0.5, 0.75, 1.0), (0.125, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("alphabet", "columns"), [(FOUR, 4), (FOUR, 5), (FIVE, 4), (FOUR[:2], 3), (FOUR[:3], 4), ((*FIVE, 0.3, 0.6), 3)]
)
def test_an_orthogonal_array_shows_every_pair_of_any_two_columns_once(alphabet, columns):
    space = product(*[alphabet] * columns)
    chosen = space[covering(space, len(alphabet) ** 2, 0)]
    assert len(chosen) == len(alphabet) ** 2
    for one, two in itertools.combinations(range(columns), 2):
        assert len(pairs(chosen, one, two)) == len(alphabet) ** 2


@pytest.mark.parametrize("random_seed", range(3))
def test_where_the_seed_is_not_in_the_pool_every_adjacent_pair_is_shown_all_the_same(random_seed):
    space = product(*[FOUR] * 4)[:-1]
    chosen = space[covering(space, 18, random_seed)]
    assert all(len(pairs(chosen, column, column + 1)) == 16 for column in range(3))


@pytest.mark.parametrize(
    ("alphabets", "enough"),
    [
        ((FOUR, FIVE, FOUR, FIVE), 26),
        ((FIVE, FOUR[:2], FIVE[:3]), 12),
        ((range(6), range(6), range(6)), 45),
        ((FOUR,) * 7, 20),
    ],
)
def test_other_alphabets_are_covered_in_few_rows(alphabets, enough):
    space = product(*alphabets)
    chosen = space[covering(space, enough, 0)]
    for column, (one, two) in enumerate(itertools.pairwise(alphabets)):
        assert len(pairs(chosen, column, column + 1)) == len(one) * len(two)


def test_only_pairs_that_are_there_are_asked_for():
    monotone = np.asarray([row for row in product(*[FOUR] * 3).tolist() if row == sorted(row)])
    # By the middle width: as many rows as there are narrower first ones, or wider last ones; 4 + 3 + 3 + 4.
    chosen = monotone[covering(monotone, 14, 0)]
    assert all(pairs(chosen, column, column + 1) == pairs(monotone, column, column + 1) for column in (0, 1))


@pytest.mark.parametrize("count", [1, 2, 10, 40, 256, 1000])
def test_the_design_begins_with_the_narrowest_and_holds_no_row_twice(count):
    space = product(*[FOUR] * 4)
    chosen = covering(space, count, 7)
    assert len(set(chosen)) == len(chosen) == min(count, len(space))
    assert space[chosen[0]].tolist() == [0.25] * 4
    assert chosen == covering(space, 1000, 7)[:count]


def test_one_column_is_covered_too():
    space = product(FIVE)
    assert sorted(covering(space, 5, 0)) == list(range(5))
