import itertools

import numpy as np
import pytest

from scbp_host.latency.additive import AdditiveModel, size_features

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
    model = AdditiveModel().fit(widths, additive_law(widths))
    predicted = model.predict(GRID).mean
    assert predicted == pytest.approx(additive_law(GRID), rel=1e-4)
    assert model.leave_one_out().within_10_percent == 1.0
    assert model.leave_one_out().largest_error < 1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [8, 16, 40])
def test_leave_one_out_is_what_refitting_without_each_point_gives(seed, count):
    widths, random = sample(count, seed)
    values = additive_law(widths) * np.exp(random.normal(0.0, 0.15, count))
    model = AdditiveModel().fit(widths, values)
    errors = []
    for left_out in range(count):
        rest = np.arange(count) != left_out
        refitted = AdditiveModel(penalty=model.penalty).fit(widths[rest], values[rest])
        predicted = refitted.predict(widths[[left_out]]).mean[0]
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
        model = AdditiveModel().fit(widths, random.uniform(0.2, 2.0, count))
        seen.append(model.leave_one_out())
    assert np.mean([own.within_10_percent for own in seen]) < 0.4
    assert np.median([own.largest_error for own in seen]) > 0.3


@pytest.mark.parametrize("confidence", [0.80, 0.90, 0.95])
def test_about_as_many_unseen_values_lie_in_their_intervals_as_asked_for(confidence):
    inside, judged = [], []
    for seed in range(30):
        widths, random = sample(40, seed)
        model = AdditiveModel().fit(widths, additive_law(widths) * (1.0 + random.normal(0.0, 0.03, len(widths))))
        unseen = additive_law(GRID) * (1.0 + random.normal(0.0, 0.03, len(GRID)))
        predicted = model.predict(GRID, confidence)
        inside += ((predicted.low <= unseen) & (unseen <= predicted.high)).tolist()
        judged.append(model.leave_one_out().coverage)
    assert confidence - 0.05 <= np.mean(inside) <= confidence + 0.045
    assert 0.85 <= np.mean(judged) <= 0.98


def test_an_interval_surrounds_its_value_and_never_goes_below_zero():
    widths, random = sample(10, 3)
    model = AdditiveModel().fit(widths, random.uniform(0.01, 10.0, len(widths)))
    for interval in model.predict(GRID).intervals():
        assert 0.0 <= interval.low <= interval.value <= interval.high


def test_errors_count_relative_to_the_value():
    widths, _ = sample(60, 1)
    steep = 0.01 + widths[:, 0] ** 6  # no additive law: some error must remain
    model = AdditiveModel().fit(widths, steep)
    scaled = AdditiveModel().fit(widths, steep * 1e6)
    assert scaled.leave_one_out().largest_error == pytest.approx(model.leave_one_out().largest_error, rel=1e-6)


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_what_cannot_be_fitted_is_refused(values):
    with pytest.raises(ValueError, match="at least two measurements, all above zero"):
        AdditiveModel().fit(GRID[: min(len(values), 2)], np.asarray(values))


def test_latency_that_bends_with_the_size_of_the_whole_network_is_followed():
    widths, _ = sample(40, 4)
    size = 1.0 + 9.0 * additive_law(GRID)
    sizes = AdditiveModel().fit(widths, 1.0 + 9.0 * additive_law(widths))
    bent = lambda own: additive_law(own) + 0.5 * ((1.0 + 9.0 * additive_law(own)) / size.max()) ** 3  # noqa: E731
    without = AdditiveModel().fit(widths, bent(widths))
    model = AdditiveModel(size_features(sizes, float(size.max()))).fit(widths, bent(widths))
    assert model.predict(GRID).mean == pytest.approx(bent(GRID), rel=2e-3)
    assert model.squared_error < 0.1 * without.squared_error


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(ValueError, match="call fit first"):
        AdditiveModel().predict(GRID)
