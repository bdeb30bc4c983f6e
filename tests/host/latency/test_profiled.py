"""What the shares of a profile teach: each measured network shows all its parts."""

import itertools

import numpy as np
import pytest

from scbp_host.latency.models import best_model
from scbp_host.latency.staircase import StaircaseModel
from scbp_host.search.design import covering

RATIOS = (0.25, 0.5, 0.75, 1.0)
GRID = np.asarray(list(itertools.product(RATIOS, repeat=4)))
LEVELS = np.searchsorted(RATIOS, GRID)


def board(seed):
    """Return latencies (256,) and what a profile says of them, (256, 5): a staircase in every part, both with noise."""
    random = np.random.default_rng(seed)
    slower = 1.0 + 0.3 * random.random((4, 4, 4)) * (random.random((4, 4, 4)) < 0.5)
    before = np.concatenate([np.full((256, 1), 3), LEVELS[:, :-1]], axis=1)
    read = np.concatenate([np.ones((256, 1)), GRID[:, :-1]], axis=1)
    parts = [(0.3 + read[:, k]) * GRID[:, k] * slower[k, before[:, k], LEVELS[:, k]] for k in range(4)]
    parts = np.stack([*parts, 0.1 * GRID[:, 3]], axis=1)
    latency = (0.1 + parts.sum(axis=1)) * np.exp(random.normal(0.0, 0.01, 256))
    told = parts * np.exp(random.normal(0.0, 0.03, parts.shape))
    return latency, told / told.sum(axis=1, keepdims=True)


def judged(seed, count, known):
    """Return the errors of what was not measured, and whether intervals hold it; ``known`` turns shares into others."""
    latency, shares = board(seed)
    rows = covering(GRID, count, seed)
    unseen = np.setdiff1d(np.arange(256), rows)
    predicted = StaircaseModel().fit(GRID[rows], latency[rows], shares=known(shares[rows])).predict(GRID[unseen])
    truth = latency[unseen]
    return np.abs(predicted.mean / truth - 1.0), (predicted.low <= truth) & (truth <= predicted.high)


SEEDS = range(4)


def test_profiles_are_worth_measurements():
    """Sixteen networks with profiles teach more than twenty-four without."""
    with_profiles = np.concatenate([judged(seed, 16, lambda own: own)[0] for seed in SEEDS])
    without = np.concatenate([judged(seed, 24, lambda _: None)[0] for seed in SEEDS])
    assert np.mean(with_profiles <= 0.05) > np.mean(without <= 0.05) + 0.05


def test_profiles_of_some_teach_more_than_of_none():
    def first_half(shares):
        some = shares.copy()
        some[len(some) // 2 :] = np.nan
        return some

    errors = [[np.mean(judged(seed, 16, known)[0]) for seed in SEEDS] for known in (first_half, lambda _: None)]
    assert np.mean(errors[0]) < 0.9 * np.mean(errors[1])


def test_profiles_that_say_nothing_change_nothing():
    unknown, none = (judged(0, 16, known)[0] for known in (lambda own: np.full_like(own, np.nan), lambda _: None))
    assert unknown == pytest.approx(none)


def test_intervals_still_cover():
    inside = np.concatenate([judged(seed, 24, lambda own: own)[1] for seed in SEEDS])
    assert np.mean(inside) >= 0.85


def test_the_network_left_out_takes_its_profile_with_it():
    """Its parts would give it away: each is expected as by a model that never met it."""
    latency, shares = board(1)
    rows = np.asarray(covering(GRID, 12, 1))
    errors = []
    for own in rows:
        rest = rows[rows != own]
        stranger = StaircaseModel().fit(GRID[rest], latency[rest], shares=shares[rest])
        errors.append(stranger.predict(GRID[[own]]).mean[0] / latency[own] - 1.0)
    model = StaircaseModel().fit(GRID[rows], latency[rows], shares=shares[rows])
    assert np.sqrt(model.squared_error) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.3)


def test_the_best_model_is_given_them():
    latency, shares = board(2)
    rows = np.asarray(covering(GRID, 16, 2))
    best = best_model(GRID[rows], latency[rows], shares=shares[rows])
    assert best.squared_error == StaircaseModel().fit(GRID[rows], latency[rows], shares=shares[rows]).squared_error
