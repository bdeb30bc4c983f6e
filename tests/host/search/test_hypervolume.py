import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbp_host.search.hypervolume import hypervolume, improvements

REFERENCE = (10.0, 2.0)
GRID = 12
coordinates = st.integers(0, GRID)
thorough = settings(max_examples=60, deadline=None)
points = st.lists(st.tuples(coordinates, coordinates), max_size=8)


def cells(dominated_by):
    """Count the unit cells between the reference and some points: the area by brute force, on whole numbers."""
    slowest, least = REFERENCE
    return sum(
        any(latency <= x and accuracy >= y + 1 for latency, accuracy in dominated_by)
        for x in range(int(slowest))
        for y in range(int(least), GRID + 1)
    )


def as_world(own):
    latency, accuracy = np.asarray(own, dtype=float).reshape(-1, 2).T
    return latency[None], accuracy[None]


@thorough
@given(points)
def test_the_hypervolume_is_the_area_counted_cell_by_cell(front):
    assert hypervolume(*as_world(front), REFERENCE)[0] == cells(front)


@thorough
@given(points, points)
def test_an_improvement_is_the_area_that_a_point_adds(front, others):
    gained = improvements(as_world(front), as_world(others), REFERENCE)[0]
    assert gained.tolist() == [cells([*front, own]) - cells(front) for own in others]


@thorough
@given(points, points)
def test_no_improvement_is_negative_and_none_is_larger_than_alone(front, others):
    gained = improvements(as_world(front), as_world(others), REFERENCE)
    alone = improvements(as_world([]), as_world(others), REFERENCE)
    assert (gained >= 0).all()
    assert (gained <= alone).all()


def test_each_world_has_a_front_of_its_own():
    latency = np.asarray([[2.0, 6.0], [8.0, 8.0]])
    accuracy = np.asarray([[4.0, 7.0], [3.0, 3.0]])
    assert hypervolume(latency, accuracy, REFERENCE).tolist() == [4 * 2 + 4 * 5, 2 * 1]
    point = (np.asarray([[4.0], [4.0]]), np.asarray([[5.0], [5.0]]))
    assert improvements((latency, accuracy), point, REFERENCE)[:, 0].tolist() == [2 * 1, 6 * 3 - 2 * 1]


@pytest.mark.parametrize("outside", [(10.0, 9.0), (11.0, 9.0), (1.0, 2.0), (1.0, 1.0)])
def test_what_is_out_of_the_budgets_is_worth_nothing(outside):
    assert hypervolume(*as_world([outside]), REFERENCE)[0] == 0
    assert improvements(as_world([(5, 5)]), as_world([outside]), REFERENCE)[0, 0] == 0
