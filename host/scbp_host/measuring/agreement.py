"""One figure from several measurements of one model, or of several builds of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import CONFIDENCE, Array, interval_of_logs, students_t

_REACH = float(stats.norm.ppf(0.5 + CONFIDENCE / 2.0))
_LEAST_DEVIATION = 1e-6


def pooled_ratio(ratios: Sequence[Interval]) -> Interval:
    """Return one figure from a model's ratios in several measurements, with its 95 % confidence interval.

    The geometric mean, with Student's t over the measurements' logarithms: what moves between measurements is more than
    what each can see of itself. A single measurement keeps its own interval.

    Raises:
        ValueError: there is no ratio.
    """
    logs, _ = _logs_and_reaches(ratios)
    if len(ratios) == 1:
        return ratios[0]
    return _around(float(logs.mean()), _reach_between(logs))


def combined_ratio(ratios: Sequence[Interval]) -> Interval:
    """Return the mean of several ratios, weighted by how sure each is, with its 95 % confidence interval.

    On logarithms, by inverse variances. Where the measurements are further apart than their intervals say, the mean's
    is wider by as much (the Birge ratio, as in the Particle Data Group's averages; Birge, "The calculation of errors by
    the method of least squares", Physical Review, 1932). A single one keeps its own.

    Raises:
        ValueError: there is no ratio.
    """
    logs, reaches = _logs_and_reaches(ratios)
    if len(ratios) == 1:
        return ratios[0]
    weights = 1.0 / np.maximum(reaches / _REACH, _LEAST_DEVIATION) ** 2
    mean = float(np.average(logs, weights=weights))
    apart = float(np.sum(weights * (logs - mean) ** 2)) / (len(logs) - 1)
    return _around(mean, _REACH * math.sqrt(max(1.0, apart) / float(weights.sum())))


def ratio_over_builds(ratios: Sequence[Interval]) -> Interval:
    """Return one figure from the ratios of several builds of a model, with its 95 % confidence interval.

    The geometric mean. Its half-width is, on logarithms, the root of the sum of two squares: of what each build's own
    interval leaves open, averaged, and of Student's t over the builds' values, which is what one build differs from the
    next. The values hold some of the first already, so the sum errs on the wide side; three builds that happen to agree
    would otherwise be surer than any of them.

    Args:
        ratios: of the builds, two at least.

    Raises:
        ValueError: there is no ratio.
    """
    logs, reaches = _logs_and_reaches(ratios)
    within = math.sqrt(float(np.mean(reaches**2)) / len(ratios))
    return _around(float(logs.mean()), math.hypot(within, _reach_between(logs)))


def _logs_and_reaches(ratios: Sequence[Interval]) -> tuple[Array, Array]:
    """Return the logarithms of the values, and half of each interval's width on that scale; raises ValueError."""
    if not ratios:
        raise ValueError("expected at least one ratio")
    return np.log([own.value for own in ratios]), np.log([own.high / own.low for own in ratios]) / 2.0


def _reach_between(logs: Array) -> float:
    return float(students_t(len(logs) - 1, CONFIDENCE) * stats.sem(logs))


def _around(middle: float, reach: float) -> Interval:
    return interval_of_logs(middle, middle - reach, middle + reach)
