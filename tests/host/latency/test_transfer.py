import itertools

import numpy as np
import pytest

from scbp_host.latency.staircase import StaircaseModel
from scbp_host.latency.transfer import Source, WarmModel

GRID = np.asarray(list(itertools.product((0.25, 0.5, 0.75, 1.0), repeat=3)))


def board(seed):
    """Return (64,): work, and a step of its own at every pair of widths."""
    random = np.random.default_rng(seed)
    levels = (4 * GRID).astype(int) - 1
    shares = random.uniform(0.3, 1.5, 3)
    first = shares[0] * GRID[:, 0] * random.uniform(1.0, 1.4, 4)[levels[:, 0]]
    steps = random.uniform(1.0, 1.4, (2, 4, 4))
    return (
        0.1
        + first
        + sum(
            shares[own + 1] * GRID[:, own] * GRID[:, own + 1] * steps[own, levels[:, own], levels[:, own + 1]]
            for own in range(2)
        )
    )


def noisy(values, seed):
    return values * np.exp(np.random.default_rng(seed).normal(0.0, 0.01, len(values)))


def source(name, values, seed):
    rows = np.random.default_rng(seed).permutation(len(GRID))[:40]
    return Source(name, GRID[rows], noisy(values, seed)[rows])


def error(model, truth, count, seed):
    rows = np.random.default_rng(100 + seed).permutation(len(GRID))[:count]
    model.fit(GRID[rows], noisy(truth, 50 + seed)[rows])
    return np.sqrt(np.mean((model.predict(GRID).mean / truth - 1.0) ** 2))


SEEDS = range(6)


def test_a_board_that_is_alike_saves_measurements():
    """Twice as fast, and less so for wide networks: another device of one kind."""
    cold, warm = [], []
    for seed in SEEDS:
        truth = board(seed)
        model = WarmModel([source("alike", 3.0 * truth**0.9, seed)])
        warm.append(error(model, truth, 8, seed))
        cold.append(error(StaircaseModel(), truth, 8, seed))
    assert np.mean(warm) < 0.5 * np.mean(cold)


def test_a_board_that_is_not_does_no_harm_and_is_not_believed_for_long():
    cold, misled, believed = [], [], []
    for seed in SEEDS:
        truth = board(seed)
        model = WarmModel([source("other", board(90 + seed)[::-1], seed)])
        misled.append(error(model, truth, 20, seed))
        cold.append(error(StaircaseModel(), truth, 20, seed))
        believed.append(model.weights["other"])
    assert np.mean(misled) < 1.1 * np.mean(cold)
    assert np.median(believed) < 0.2


def test_of_two_sources_the_one_that_agrees_is_believed():
    truth = board(0)
    model = WarmModel([source("other", board(90)[::-1], 0), source("alike", 2.0 * truth, 0)])
    error(model, truth, 12, 0)
    weights = model.weights
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["alike"] > 0.9


def test_intervals_cover_about_90_percent():
    inside = []
    for seed in SEEDS:
        truth = board(seed)
        model = WarmModel([source("alike", 3.0 * truth**0.9, seed), source("other", board(90 + seed), seed)])
        error(model, truth, 12, seed)
        predicted, values = model.predict(GRID), noisy(truth, 70 + seed)
        inside += ((predicted.low <= values) & (values <= predicted.high)).tolist()
    assert 0.82 <= np.mean(inside) <= 0.98


def test_a_source_of_another_space_is_left_out():
    truth = board(1)
    rows = np.arange(0, 64, 4)
    stranger = Source("stranger", np.asarray([[0.5, 1.0], [1.0, 1.0]]), np.asarray([1.0, 2.0]))
    model = WarmModel([stranger]).fit(GRID[rows], truth[rows])
    assert model.weights == {"": 1.0}
    assert model.predict(GRID).mean == pytest.approx(StaircaseModel().fit(GRID[rows], truth[rows]).predict(GRID).mean)


def test_a_warm_model_is_judged_by_what_it_did_not_see():
    truth = board(2)
    model = WarmModel([source("alike", 2.0 * truth, 2)])
    error(model, truth, 16, 2)
    assert model.leave_one_out().measured == 16
    assert model.leave_one_out().within_10_percent == 1.0
    assert np.sqrt(model.squared_error) < 0.05
