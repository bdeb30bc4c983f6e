"""The seam every model of a figure stands behind: fitted to what was measured, it expects the rest in intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval

Array = NDArray[np.float64]

Features = Callable[[Array], Array]
"""``(n, n_superblocks)`` relative widths -> ``(n, n_features)``, what else a figure may follow, e.g. a file's size."""

CONFIDENCE = 0.90
"""Of a prediction's interval, where nothing else is asked for."""

# What is measured to better than this is not: a perfect fit is worth no more.
_LEAST_DEVIATION = 1e-4


@dataclass(frozen=True)
class Prediction:
    """What is expected of n structures, in the unit of what was measured.

    Attributes:
        mean: ``(n,)``.
        std: ``(n,)`` standard deviation of a measurement around it, not of the expectation alone.
        low: ``(n,)`` lower ends of the intervals.
        high: ``(n,)`` upper ends.
    """

    mean: Array
    std: Array
    low: Array
    high: Array

    @classmethod
    def of_students(cls, mean: Array, std: Array, freedom: float, confidence: float) -> Self:
        """Return the intervals of Student's t around ``mean``; no figure here can be below zero."""
        reach = std * students_reach(freedom, confidence)
        return cls(mean, std, np.maximum(mean - reach, 0.0), mean + reach)

    def scattered(self, relative: float) -> Self:
        """Return the intervals of a figure that lies around this one, with a relative deviation of its own."""
        wider = np.hypot(1.0, relative * self.mean / np.maximum(self.std, _LEAST_DEVIATION * self.mean))
        low, high = (self.mean + wider * (end - self.mean) for end in (self.low, self.high))
        return replace(self, std=wider * self.std, low=np.maximum(low, 0.0), high=high)

    def intervals(self) -> list[Interval]:
        """Return the same, structure by structure."""
        rows = zip(self.mean.tolist(), self.low.tolist(), self.high.tolist(), strict=True)
        return [Interval(*row) for row in rows]


@dataclass(frozen=True)
class LeaveOneOut:
    """How well a model predicts each measured structure from all the others.

    Attributes:
        measured: structures.
        within_10_percent: share of them predicted within 10 %.
        largest_error: largest |predicted / measured - 1|.
        coverage: share whose measurement lies in its own interval, of :data:`CONFIDENCE`.
    """

    measured: int
    within_10_percent: float
    largest_error: float
    coverage: float

    @classmethod
    def of(cls, errors: Array, reaches: Array) -> Self:
        """Judge ``(n,)`` relative errors by the half widths of their intervals, relative too."""
        sizes = np.abs(errors)
        within = float(np.mean(sizes <= 0.10))
        return cls(len(sizes), within, float(np.max(sizes)), float(np.mean(sizes <= reaches)))


class FigureModel(Protocol):
    """A model of latency, peak memory, energy or file size over the superblocks' widths.

    The figure is anything above zero that is measured on one (board, runtime, precision, input). What a model came to
    depends on what it was given alone; fitted again, it forgets what it knew.
    """

    def fit(self, widths: Array, values: Array, std: Array | None = None, shares: Array | None = None) -> Self:
        """Fit to measurements; returns itself.

        Args:
            widths: ``(n, n_superblocks)`` channels kept / the seed's channels, in (0, 1].
            values: ``(n,)`` measured, above zero.
            std: ``(n,)`` standard deviations of the measurements, in the unit of ``values``; None where not known.
            shares: ``(n, n_superblocks + 1)``, which share of each value the superblocks' layers have, and the head's;
                rows of NaN where there was no profile, None where there was none at all.

        Raises:
            ValueError: fewer than two measurements, or a value that is not above zero.
        """
        ...

    def predict(self, widths: Array, confidence: float = CONFIDENCE) -> Prediction:
        """Predict what a measurement of ``(n, n_superblocks)`` relative widths would give."""
        ...

    def leave_one_out(self) -> LeaveOneOut:
        """Judge the model by structures that it did not see."""
        ...

    @property
    def log_density(self) -> float:
        """Sum of the logarithms of what the model gave for each measurement, left out: the higher, the better.

        Of relative errors, so that models of one figure in different units compare.
        """
        ...

    @property
    def squared_error(self) -> float:
        """Mean squared leave-one-out error, relative to what was measured."""
        ...


def log_density(errors: Array, deviations: Array) -> float:
    """Return the sum of the normal log densities of ``(n,)`` errors with these standard deviations."""
    return float(np.sum(stats.norm.logpdf(errors, scale=np.maximum(deviations, _LEAST_DEVIATION))))


def relative_scatter(measured: Array, fitted: Array) -> float:
    """Return the relative deviation of one figure ``(n,)`` around another of the same structures, in equal units."""
    return float(np.log(measured / fitted).std(ddof=1))


def students_reach(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return how many standard deviations a two-sided interval of Student's t reaches to each side."""
    return float(stats.t.ppf((1.0 + confidence) / 2.0, freedom))


def together(*parts: Features | None) -> Features:
    """Return the columns of all parts that there are, side by side."""
    present = [own for own in parts if own is not None]
    return lambda widths: np.concatenate([own(widths) for own in present], axis=1)


def check_measurements(widths: Array, values: Array) -> None:
    """Raise ValueError unless there are at least two measurements, all above zero, one for each row of ``widths``."""
    if len(values) < 2 or len(values) != len(widths) or not np.all(values > 0):
        raise ValueError("expected at least two measurements, all above zero")
