import numpy as np
import pytest

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.agreement import combined_ratio, pooled_ratio, ratio_over_builds


def ratio(value, off):
    return Interval(value, value / (1 + off), value * (1 + off))


def test_a_single_one_keeps_its_own_interval():
    assert combined_ratio([Interval(0.5, 0.49, 0.53)]) == Interval(0.5, 0.49, 0.53)


def test_four_that_agree_are_twice_as_sure():
    found = combined_ratio([ratio(0.5, 0.02)] * 4)
    assert found.value == pytest.approx(0.5)
    assert found.relative_half_width == pytest.approx(0.01, rel=0.02)


def test_the_surer_one_weighs_more():
    found = combined_ratio([ratio(0.50, 0.01), ratio(0.51, 0.04)])
    assert found.value == pytest.approx(0.5006, abs=2e-4)


def test_two_that_contradict_each_other_are_less_sure_than_each():
    found = combined_ratio([ratio(0.5, 0.01), ratio(0.6, 0.01)])
    assert found.low < 0.51
    assert found.high > 0.59


def test_the_interval_covers_the_truth_where_the_measurements_do():
    random = np.random.default_rng(0)
    logs = random.normal(0.0, 0.01, (2000, 3))
    found = [combined_ratio([ratio(own, 0.0198) for own in np.exp(row)]) for row in logs]
    assert np.mean([own.low <= 1.0 <= own.high for own in found]) >= 0.94


def test_nothing_is_no_figure():
    with pytest.raises(ValueError, match="expected at least one ratio"):
        combined_ratio([])


def test_pooling_covers_the_truth_as_often_as_it_says():
    # What moves between measurements is far more than each one's own interval tells.
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = 5.0 * np.exp(random.normal(0.0, 0.2, 6))
        pooled = pooled_ratio([Interval(value, 0.99 * value, 1.01 * value) for value in values])
        covered += pooled.low <= 5.0 <= pooled.high
    # 95 % of 400, give or take two standard deviations.
    assert 371 <= covered <= 389, covered


def test_a_single_measurement_keeps_its_own_interval():
    assert pooled_ratio([Interval(5.0, 4.0, 6.0)]) == Interval(5.0, 4.0, 6.0)
    with pytest.raises(ValueError, match="at least one"):
        pooled_ratio([])


def test_the_spread_between_builds_joins_the_interval():
    alike = ratio_over_builds([Interval(0.5, 0.49, 0.51)] * 3)
    assert alike.value == pytest.approx(0.5)
    # Three builds that agree are each as sure as before, and a mean of three is surer.
    assert alike.relative_width == pytest.approx(0.02 / 0.5 / np.sqrt(3), rel=0.01)
    apart = ratio_over_builds([Interval(own, 0.98 * own, 1.02 * own) for own in (0.5, 0.55, 0.6)])
    assert apart.low < 0.5
    assert apart.high > 0.6


def test_the_interval_over_builds_covers_the_truth():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        builds = random.normal(np.log(0.5), 0.03, 3)
        seen = np.exp(builds + random.normal(0.0, 0.01, 3))
        ratio = ratio_over_builds([Interval(own, own * np.exp(-0.0196), own * np.exp(0.0196)) for own in seen])
        covered += ratio.low <= 0.5 <= ratio.high
    assert 940 <= covered <= 990, covered
