import itertools

import numpy as np
import pytest

from scbp_host.latency.additive import AdditiveModel
from scbp_host.latency.models import MODELS, best_model
from scbp_host.latency.staircase import StaircaseModel
from scbp_host.search.design import covering

RATIOS = (0.25, 0.5, 0.75, 1.0)
GRID = np.asarray(list(itertools.product(RATIOS, repeat=4)))
NOISE = 0.01


def staircase(seed, step=0.3):
    """Return (256,): a sum over layers whose work takes up to ``step`` more time at half of the pairs of widths."""
    random = np.random.default_rng(seed)
    slower = 1.0 + step * random.random((4, 4, 4)) * (random.random((4, 4, 4)) < 0.5)
    levels = np.searchsorted(RATIOS, GRID)
    total = np.full(len(GRID), 0.1)
    for block, share in enumerate(random.uniform(0.5, 1.5, 4)):
        before = levels[:, block - 1] if block else np.full(len(GRID), 3)
        work = 0.3 * GRID[:, block] + (GRID[:, block - 1] if block else 1.0) * GRID[:, block]
        total += share * work * slower[block, before, levels[:, block]]
    return total


def measured(truth, seed, noise=NOISE):
    return truth * np.exp(np.random.default_rng(1000 + seed).normal(0.0, noise, len(truth)))


def judged(model, truth, count, seed, noise=NOISE):
    """Return the errors at what was not measured, and whether a measurement of it would lie in its interval."""
    values = measured(truth, seed, noise)
    rows = covering(GRID, count, seed)
    unseen = np.setdiff1d(np.arange(len(GRID)), rows)
    predicted = model.fit(GRID[rows], values[rows]).predict(GRID[unseen])
    errors = np.abs(predicted.mean / values[unseen] - 1.0)
    return errors, (predicted.low <= values[unseen]) & (values[unseen] <= predicted.high)


def test_a_staircase_is_learned_where_the_additive_model_has_to_fail():
    errors = {StaircaseModel: [], AdditiveModel: []}
    for seed in range(4):
        for make, found in errors.items():
            found.extend(judged(make(), staircase(seed), 32, seed)[0])
    within = {make: np.mean(np.asarray(found) <= 0.05) for make, found in errors.items()}
    assert within[StaircaseModel] >= 0.90
    assert within[AdditiveModel] <= 0.85


@pytest.mark.parametrize(("count", "step", "noise"), [(24, 0.3, 0.01), (24, 0.0, 0.03), (32, 0.1, 0.02)])
def test_intervals_of_90_percent_cover_about_so_many(count, step, noise):
    """Also where there is nothing but noise, which an orthogonal array cannot tell from steps."""
    inside = [judged(StaircaseModel(), staircase(seed, step), count, seed, noise)[1] for seed in range(8)]
    assert 0.85 <= np.mean(inside) <= 0.95


def test_where_there_are_no_steps_little_is_lost():
    work = 0.2 + GRID @ (0.4, 0.3, 0.2, 0.1) + (GRID[:, 1:] * GRID[:, :-1]) @ (0.5, 0.6, 0.7)
    errors, _ = judged(StaircaseModel(), work, 24, 0)
    assert np.mean(errors <= 0.05) >= 0.95


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_leave_one_out_knows_how_good_a_model_is(make):
    for step in (0.0, 0.5):
        truth = staircase(3, step)
        model = make(None)
        errors, _ = judged(model, truth, 32, 3)
        assert 0.5 < np.sqrt(model.squared_error) / np.sqrt(np.mean(errors**2)) < 2.5


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_unit_does_not_matter(make):
    rows = covering(GRID, 20, 0)
    values = measured(staircase(0), 0)[rows]
    one, other = (make(None).fit(GRID[rows], factor * values) for factor in (1.0, 3e7))
    assert other.predict(GRID).mean == pytest.approx(3e7 * one.predict(GRID).mean, rel=1e-3)
    assert other.predict(GRID).high == pytest.approx(3e7 * one.predict(GRID).high, rel=1e-2)
    assert other.log_density == pytest.approx(one.log_density, abs=0.1)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_measurements_are_enough_to_begin_with(count):
    rows = covering(GRID, count, 0)
    predicted = StaircaseModel().fit(GRID[rows], staircase(0)[rows]).predict(GRID)
    assert np.isfinite(predicted.high).all()
    assert (predicted.low <= predicted.mean).all()
    assert (predicted.low >= 0.0).all()


def test_what_is_known_to_be_noisy_says_less():
    rows = np.asarray(covering(GRID, 24, 0))
    values = staircase(0)[rows]
    values[5] *= 2.0
    std = np.full(len(rows), 0.01) * values
    std[5] = values[5]
    trusting, knowing = (StaircaseModel().fit(GRID[rows], values, own).predict(GRID).mean for own in (None, std))
    assert np.mean((knowing / staircase(0) - 1.0) ** 2) < 0.5 * np.mean((trusting / staircase(0) - 1.0) ** 2)


def test_what_a_feature_explains_is_learned_from_it():
    """Such as a roofline, or what another board showed."""
    truth = staircase(1, 0.6)
    of = {tuple(row): value for row, value in zip(GRID.tolist(), truth, strict=True)}
    model = StaircaseModel(lambda widths: np.asarray([[of[tuple(row)]] for row in widths.tolist()]))
    without, _ = judged(StaircaseModel(), truth, 12, 1)
    errors, _ = judged(model, truth, 12, 1)
    assert np.mean(errors) < 0.5 * np.mean(without)


def test_the_best_model_is_the_one_whose_leave_one_out_errors_are_least():
    rows = covering(GRID, 32, 0)
    for step in (0.0, 0.5):
        values = measured(staircase(0, step), 0)[rows]
        best = best_model(GRID[rows], values)
        assert best.squared_error == min(make(None).fit(GRID[rows], values).squared_error for make in MODELS.values())


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_what_cannot_be_fitted_is_refused(values):
    with pytest.raises(ValueError, match="at least two measurements, all above zero"):
        StaircaseModel().fit(GRID[: min(len(values), 2)], np.asarray(values))


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(ValueError, match="call fit first"):
        StaircaseModel().predict(GRID)
