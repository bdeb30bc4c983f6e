"""What trainings teach about the accuracy of every structure: a Gaussian process over guess and widths.

Its values are logits, log(p / (1 - p)) of accuracies p. Near the top an accuracy moves little, and so does the noise of
a training; further down both move much. On the accuracies themselves one deviation has to do for all, and a search
spends its trainings at the top, where it looks unsure. The logit makes them alike, and no expectation leaves (0, 1).

Part of its kernel is linear in the guess, in the logarithms of the widths and in their squares (Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, section 2.7). So the guess is its mean, with a slope and a height that
are learned, and not being sure of them is in the uncertainty: with few trainings the guess decides the order, with more
of them what was trained does.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel

from scbp_host.search.accuracy import AccuracyPrior

Array = NDArray[np.float64]

# No image of some hundreds was wrong: that says that errors are rare, not that there are none.
_LEAST_ERROR = 1e-3
# Bounds are what is known beforehand, in deviations of the logits trained: nothing is exact, not all is noise, and
# neighbours are alike.
_NOISE = (1e-3, 0.25)
_LINEAR, _SMOOTH, _LENGTH = (0.05, 20.0), (0.01, 4.0), (0.7, 10.0)
# Of a normal distribution, for the moments of what it becomes: Gauss and Hermite's quadrature.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)


class AccuracyModel:
    """Fitted to the trainings so far, and to the seed's accuracy.

    Args:
        prior: what is known before anything is trained.
        widths: ``(n_pool, n_superblocks)`` channels kept / the seed's channels.
        rows: of the trained structures; at least two of them.
        top1: their accuracies, in [0, 1].
        seed_top1: the seed's.
    """

    def __init__(
        self, prior: AccuracyPrior, widths: Array, rows: Sequence[int], top1: Sequence[float], seed_top1: float
    ) -> None:
        guess, logs = (prior.guess - prior.seed_guess)[:, None], np.log2(widths)
        # What a superblock loses weighs more, the less it has left: hence the squares.
        columns = np.concatenate([guess / max(float(guess.std()), 1e-9), logs, 0.5 * logs**2], axis=1)
        self._columns = columns
        known = np.concatenate([columns[list(rows)], np.zeros((1, columns.shape[1]))])
        values = special.logit(np.clip([*top1, seed_top1], _LEAST_ERROR, 1.0 - _LEAST_ERROR))
        self._centre, self._scale = float(values.mean()), max(float(values.std()), 1e-4)
        self._process = GaussianProcessRegressor(_kernel(), random_state=0)
        with warnings.catch_warnings():
            # Which bound a parameter has come to with so few trainings is nobody's concern.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(known, (values - self._centre) / self._scale)

    def expect(self) -> tuple[Array, Array]:
        """Return expectations and standard deviations of the pool, each ``(n_pool,)``, without a training's noise."""
        mean, std = self._process.predict(self._columns, return_std=True)
        noise = self._process.kernel_.k2.noise_level
        std = np.sqrt(np.clip(std**2 - noise, 1e-8, None))
        return _moments(self._centre + self._scale * mean, self._scale * std)

    def draw(self, rows: Sequence[int], worlds: int, random: np.random.Generator) -> Array:
        """Draw what the accuracies of some structures may be together, ``(worlds, n_rows)``, without noise."""
        mean, covariance = self._process.predict(self._columns[list(rows)], return_cov=True)
        covariance -= self._process.kernel_.k2.noise_level * np.eye(len(covariance))
        drawn = random.multivariate_normal(mean, covariance, worlds, check_valid="ignore", method="eigh")
        return np.asarray(special.expit(self._centre + self._scale * drawn))


def _moments(mean: Array, std: Array) -> tuple[Array, Array]:
    """Return expectations and standard deviations of accuracies whose logits are normal."""
    weights, values = _WEIGHTS / _WEIGHTS.sum(), special.expit(mean + std * _NODES[:, None])
    expected = weights @ values
    return expected, np.sqrt(weights @ (values - expected) ** 2)


def _kernel() -> Kernel:
    linear = ConstantKernel(1.0, _LINEAR) * DotProduct(1.0, "fixed")
    smooth = ConstantKernel(0.3, _SMOOTH) * Matern(2.0, _LENGTH, nu=2.5)
    return linear + smooth + WhiteKernel(0.02, _NOISE)
