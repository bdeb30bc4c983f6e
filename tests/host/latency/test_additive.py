import itertools

import numpy as np
import pytest

from scbp_host.latency.additive import AdditiveModel

GRID = np.asarray(list(itertools.product((0.25, 0.5, 0.75, 1.0), repeat=4)))


def additive_law(widths):
    """Return milliseconds: a fixed cost, traffic in each width, work in neighbours' products."""
    work = widths[:, 1:] * widths[:, :-1]
    own = widths @ (0.4, 0.3, 0.2, 0.1) + widths**2 @ (0.8, 1.0, 1.2, 1.5)
    return 0.2 + own + work @ (0.5, 0.6, 0.7)


def sample(count, seed):
    random = np.random.default_rng(seed)
    return GRID[random.permutation(len(GRID))[:count]], random


def test_an_additive_law_is_recovered_from_a_few_measurements():
    widths, _ = sample(32, 0)
    model = AdditiveModel.fit(widths, additive_law(widths))
    predicted = [interval.value for interval in model.predict(GRID)]
    assert predicted == pytest.approx(additive_law(GRID), rel=1e-4)
    assert model.leave_one_out().within_10_percent == 1.0
    assert model.leave_one_out().largest_error < 1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [8, 16, 40])
def test_leave_one_out_is_what_refitting_without_each_point_gives(seed, count):
    widths, random = sample(count, seed)
    values = additive_law(widths) * np.exp(random.normal(0.0, 0.15, count))
    model = AdditiveModel.fit(widths, values)
    errors = []
    for left_out in range(count):
        rest = np.arange(count) != left_out
        refitted = AdditiveModel.fit(widths[rest], values[rest], penalty=model.penalty)
        predicted = refitted.predict(widths[[left_out]])[0].value
        errors.append(abs(predicted / values[left_out] - 1.0))
    judged = model.leave_one_out()
    assert judged.measured == count
    assert judged.largest_error == pytest.approx(max(errors), rel=1e-6)
    assert judged.within_10_percent == np.mean(np.asarray(errors) <= 0.10)


@pytest.mark.parametrize("count", [2, 3, 6, 10, 12])
def test_with_fewer_points_than_terms_noise_does_not_look_predictable(count):
    seen = []
    for seed in range(20):
        widths, random = sample(count, seed)
        model = AdditiveModel.fit(widths, random.uniform(0.2, 2.0, count))
        seen.append(model.leave_one_out())
    assert np.mean([own.within_10_percent for own in seen]) < 0.4
    assert np.median([own.largest_error for own in seen]) > 0.3


def test_about_95_percent_of_unseen_values_lie_in_their_intervals():
    inside, judged = [], []
    for seed in range(30):
        widths, random = sample(40, seed)
        model = AdditiveModel.fit(widths, additive_law(widths) * (1.0 + random.normal(0.0, 0.03, len(widths))))
        unseen = additive_law(GRID) * (1.0 + random.normal(0.0, 0.03, len(GRID)))
        intervals = model.predict(GRID)
        inside += [own.low <= value <= own.high for own, value in zip(intervals, unseen, strict=True)]
        judged.append(model.leave_one_out().coverage)
    assert 0.88 <= np.mean(inside) <= 0.995
    assert 0.88 <= np.mean(judged) <= 1.0


def test_an_interval_surrounds_its_value_and_never_goes_below_zero():
    widths, random = sample(10, 3)
    model = AdditiveModel.fit(widths, random.uniform(0.01, 10.0, len(widths)))
    for interval in model.predict(GRID):
        assert 0.0 <= interval.low <= interval.value <= interval.high


def test_errors_count_relative_to_the_value():
    widths, _ = sample(60, 1)
    steep = 0.01 + widths[:, 0] ** 6  # no additive law: some error must remain
    model = AdditiveModel.fit(widths, steep)
    scaled = AdditiveModel.fit(widths, steep * 1e6)
    assert scaled.leave_one_out().largest_error == pytest.approx(model.leave_one_out().largest_error, rel=1e-6)


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_what_cannot_be_fitted_is_refused(values):
    with pytest.raises(ValueError, match="at least two measurements, all above zero"):
        AdditiveModel.fit(GRID[: min(len(values), 2)], np.asarray(values))
