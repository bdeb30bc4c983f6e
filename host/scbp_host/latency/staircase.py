"""A Gaussian process over the superblocks' widths: a trend, and whatever steps and bends the measurements show.

Latency is a sum over layers, and a layer knows its own width and its neighbour's. So the covariance is a sum over
adjacent superblocks (``latency/kernel.py``), and what one network teaches about a pair of widths holds for every one
that has the pair. Fitted is the *relative* error: each value is divided by what was measured.

Intervals come from leave-one-out (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations
5.10 to 5.12): how far each measurement was from what the others say. Its variance is the mean of two. One is the
process's own, scaled so that it is right about the measurements left out. The other is the errors' mean square as it
is: where every pair of widths was measured once, nothing left out can tell whether a pair is slow or its measurement
was, and the process, which has to decide, may take noise for a step that it knows by now.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.linalg import cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel

from scbp_host.latency.base import (
    CONFIDENCE,
    Features,
    LeaveOneOut,
    Prediction,
    check_measurements,
    log_density,
    students_reach,
)
from scbp_host.latency.kernel import COMPONENTS, StructureKernel

Array = NDArray[np.float64]

# What is expected of the variances before anything is measured, relative to the largest value's square: the trend
# explains nearly all, steps some percent, noise two percent. Each may well be e^2 times more or less.
_EXPECTED = np.log([1.0, 1.0, 3e-3, 3e-3, 3e-3, 1.0, 1e-3, 1e-2, 1e-4, 4e-4])
_DEVIATION = 2.0
_NOISE_BOUNDS = (1e-6, 1.0)
# Added to the diagonal for the solver's sake; scikit-learn's own default.
_JITTER = 1e-10
# The variances are fitted to the same measurements, which takes about so many degrees of freedom from them.
_FITTED = 3


@dataclass(frozen=True)
class _Fitted:
    """A fitted process.

    Attributes:
        process: of values divided by what was measured.
        unit: what is 1 to the process: the largest value.
        errors: ``(n_measured,)`` leave-one-out errors, (measured - predicted) / measured.
        deviations: ``(n_measured,)`` what the process takes for the standard deviations of these.
        freedom: degrees of freedom that the measurements have left.
    """

    process: Any
    unit: float
    errors: Array
    deviations: Array
    freedom: float

    def with_doubt(self, deviations: Array) -> Array:
        """Return what to make of the process's own deviations, relative ones; see above."""
        scale = np.sum((self.errors / self.deviations) ** 2) / self.freedom
        mean_square = np.sum(self.errors**2) / self.freedom
        doubted: Array = np.sqrt((scale * deviations**2 + mean_square) / 2.0)
        return doubted


class StaircaseModel:
    """A :class:`~scbp_host.latency.base.FigureModel`.

    Args:
        features: what joins the trend; None adds nothing.
    """

    def __init__(self, features: Features | None = None) -> None:
        self._features = features
        self._fitted: _Fitted | None = None

    def fit(self, widths: Array, values: Array, std: Array | None = None, shares: Array | None = None) -> Self:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        check_measurements(widths, values)
        unit = float(values.max())
        rows, owners = self._rows(widths, values / unit), np.empty(0, np.int64)
        if shares is not None:
            owners, profiled = _profiled(rows, shares)
            rows = np.concatenate([rows, profiled])
        noise = np.zeros(len(rows))
        if std is not None:
            noise[: len(values)] = std / values
        process = _process(rows, widths.shape[1], noise)
        errors, deviations = _left_out(process, len(values), owners)
        freedom = max(1.0, len(values) - _FITTED)
        self._fitted = _Fitted(process, unit, errors, deviations, freedom)
        return self

    def predict(self, widths: Array, confidence: float = CONFIDENCE) -> Prediction:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        own = self._known
        mean = np.maximum(own.process.predict(self._rows(widths, np.ones(len(widths)))), 1e-12)
        # Divided by the expectation, the noise in a deviation is relative to it as well.
        _, relative = own.process.predict(self._rows(widths, mean), return_std=True)
        std = own.unit * own.with_doubt(relative) * mean
        return Prediction.of_students(own.unit * mean, std, own.freedom, confidence)

    def leave_one_out(self) -> LeaveOneOut:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        own = self._known
        return LeaveOneOut.of(own.errors, own.with_doubt(own.deviations) * students_reach(own.freedom))

    @property
    def squared_error(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        return float(np.mean(self._known.errors**2))

    @property
    def log_density(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        own = self._known
        return log_density(own.errors, own.with_doubt(own.deviations))

    @property
    def variances(self) -> dict[str, float]:
        """What the components of the covariance came to, by name, and the noise."""
        names = (*COMPONENTS, "noise")
        return dict(zip(names, np.exp(self._known.process.kernel_.theta).tolist(), strict=True))

    @property
    def _known(self) -> _Fitted:
        if self._fitted is None:
            raise ValueError("expected a fitted model; call fit first")
        return self._fitted

    def _rows(self, widths: Array, scales: Array) -> Array:
        """Return rows of whole networks; see :class:`~scbp_host.latency.kernel.StructureKernel`."""
        features = np.empty((len(widths), 0)) if self._features is None else self._features(widths)
        parts = np.ones((len(widths), widths.shape[1] + 1))
        return np.concatenate([widths, features, parts, scales[:, None]], axis=1)


def _profiled(networks: Array, shares: Array) -> tuple[NDArray[np.int64], Array]:
    """Return whose parts are known, and a row for each: so much of the network's value as its share says."""
    owners, parts = np.nonzero(shares > 0)  # NaN is not: there was no profile
    rows = networks[owners]
    rows[:, -shares.shape[1] - 1 : -1] = np.eye(shares.shape[1])[parts]
    rows[:, -1] *= shares[owners, parts]
    return owners, rows


def _left_out(process: Any, networks: int, owners: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return errors and deviations of networks, each expected without its own measurement and profile."""
    inverse = cho_solve((process.L_, True), np.eye(networks + len(owners)))
    errors, deviations = np.empty(networks), np.empty(networks)
    for own in range(networks):
        rows = np.concatenate([[own], networks + np.flatnonzero(owners == own)])
        covariance = np.linalg.inv(inverse[np.ix_(rows, rows)])
        errors[own] = covariance[0] @ process.alpha_[rows]
        deviations[own] = np.sqrt(covariance[0, 0])
    return errors, deviations


def _process(rows: Array, superblocks: int, noise: Array) -> Any:
    """Return a process fitted to values of 1, with the measurements' relative deviations where these are known."""
    steps = StructureKernel(superblocks, np.exp(_EXPECTED[:-1]))
    kernel = steps + WhiteKernel(np.exp(_EXPECTED[-1]), _NOISE_BOUNDS)
    process = GaussianProcessRegressor(kernel, alpha=_JITTER + noise**2, optimizer=_most_plausible)
    with warnings.catch_warnings():
        # It warns of a variance at its bound, which is how a component says that it is not needed.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(rows, np.ones(len(rows)))


def _most_plausible(negative: Callable[..., Any], initial: Array, bounds: Array) -> tuple[Array, float]:
    """Find the variances' logarithms that measurements and expectation together find the most plausible.

    With few measurements their likelihood alone would call noise a step, or a step noise.
    """

    def objective(theta: Array) -> tuple[float, Array]:
        value, gradient = negative(theta, eval_gradient=True)
        off = (theta - _EXPECTED) / _DEVIATION
        return float(value + 0.5 * off @ off), gradient + off / _DEVIATION

    found = optimize.minimize(objective, initial, jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x, float(found.fun)
