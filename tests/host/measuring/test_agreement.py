import numpy as np
import pytest

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.agreement import combined_ratio


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
