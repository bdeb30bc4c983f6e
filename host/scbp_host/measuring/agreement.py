"""One figure from several measurements of one model that are each to be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import CONFIDENCE

_REACH = float(stats.norm.ppf(0.5 + CONFIDENCE / 2.0))
_LEAST_DEVIATION = 1e-6


def combined_ratio(ratios: Sequence[Interval]) -> Interval:
    """Return the mean of several ratios, weighted by how sure each is, with its 95 % confidence interval.

    On logarithms, by inverse variances. Where the measurements are further apart than their intervals say, the mean's
    is wider by as much (the Birge ratio, as in the Particle Data Group's averages; Birge, "The calculation of errors by
    the method of least squares", Physical Review, 1932). A single one keeps its own.

    Raises:
        ValueError: there is no ratio.
    """
    if not ratios:
        raise ValueError("expected at least one ratio")
    if len(ratios) == 1:
        return ratios[0]
    logs = np.log([own.value for own in ratios])
    reaches = np.log([own.high / own.low for own in ratios]) / 2.0
    weights = 1.0 / np.maximum(reaches / _REACH, _LEAST_DEVIATION) ** 2
    mean = float(np.average(logs, weights=weights))
    apart = float(np.sum(weights * (logs - mean) ** 2)) / (len(logs) - 1)
    reach = _REACH * np.sqrt(max(1.0, apart) / weights.sum())
    value, low, high = np.exp([mean, mean - reach, mean + reach])
    return Interval(float(value), float(low), float(high))
