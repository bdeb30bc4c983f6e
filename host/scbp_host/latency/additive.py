"""An additive model of latency, memory or file size over the superblocks' widths.

A convolution's work grows with input channels times output channels, its traffic with either. Summed over a network
whose superblocks have relative widths w_1..w_K, this gives the terms 1, w_k, w_k^2 and w_k * w_(k-1). Where weights
stop fitting into a processor's caches, latency bends with the size of the whole network, which no sum over superblocks
can say: for latency, the square and the cube of the network's relative size join the terms, as further features.

It is fitted by ridge regression on the *relative* error (each row divided by its measured value), since 0.1 ms is much
for a fast candidate and little for a slow one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scbp_host.latency.base import (
    CONFIDENCE,
    Features,
    FigureModel,
    LeaveOneOut,
    Prediction,
    check_measurements,
    log_density,
    students_reach,
)

Array = NDArray[np.float64]

# Candidates for the ridge penalty, relative to the mean of the Gram matrix's diagonal; leave-one-out chooses.
_PENALTIES = np.logspace(-8, 1, 19)
# A fit that passes through a point says nothing about it left out: such penalties are too small for the data.
_MAX_LEVERAGE = 0.95


@dataclass(frozen=True)
class _Ridge:
    """One ridge regression.

    Attributes:
        penalty: of the coefficients' squares.
        coefficients: ``(n_terms,)``.
        inverse_gram: ``(n_terms, n_terms)``, for the leverage of a prediction.
        errors: ``(n_measured,)`` leave-one-out errors, (measured - predicted) / measured.
        leverages: ``(n_measured,)`` of the measured structures.
    """

    penalty: float
    coefficients: Array
    inverse_gram: Array
    errors: Array
    leverages: Array

    @property
    def squared_error(self) -> float:
        return float(np.mean(self.errors**2))

    @property
    def freedom(self) -> float:
        return max(1.0, len(self.errors) - float(np.sum(self.leverages)))

    @property
    def sigma(self) -> float:
        in_sample = self.errors * (1.0 - self.leverages)
        return float(np.sqrt(np.sum(in_sample**2) / self.freedom))

    @property
    def deviations(self) -> Array:
        """Of the leave-one-out errors: a left-out structure's own variance is sigma^2 / (1 - h)."""
        found: Array = self.sigma / np.sqrt(np.clip(1.0 - self.leverages, 1e-3, None))
        return found


class AdditiveModel:
    """A :class:`~scbp_host.latency.base.FigureModel`; takes all measurements as equally certain.

    Args:
        features: what joins the terms; None adds nothing.
        penalty: of the ridge regression; None lets leave-one-out choose.
    """

    def __init__(self, features: Features | None = None, penalty: float | None = None) -> None:
        self._features = features
        self._penalty = penalty
        self._fitted: _Ridge | None = None

    def fit(self, widths: Array, values: Array, std: Array | None = None, shares: Array | None = None) -> Self:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        check_measurements(widths, values)
        rows = self._terms(widths) / values[:, None]
        if self._penalty is not None:
            self._fitted = _ridge(rows, self._penalty)
            return self
        fits = [_ridge(rows, float(own)) for own in _PENALTIES * np.mean(np.sum(rows**2, axis=0))]
        fair = [own for own in fits if float(own.leverages.max()) <= _MAX_LEVERAGE] or fits[-1:]
        self._fitted = min(fair, key=lambda own: own.squared_error)
        return self

    @property
    def penalty(self) -> float:
        """The ridge penalty that was fitted with."""
        return self._ridge.penalty

    @property
    def log_density(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        return log_density(self._ridge.errors, self._ridge.deviations)

    @property
    def squared_error(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        return self._ridge.squared_error

    def predict(self, widths: Array, confidence: float = CONFIDENCE) -> Prediction:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        own, terms = self._ridge, self._terms(widths)
        values = np.maximum(terms @ own.coefficients, 1e-12)
        scaled = terms / values[:, None]
        leverages = np.einsum("ij,jk,ik->i", scaled, own.inverse_gram, scaled)
        std = values * own.sigma * np.sqrt(1.0 + np.clip(leverages, 0.0, None))
        return Prediction.of_students(values, std, own.freedom, confidence)

    def leave_one_out(self) -> LeaveOneOut:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        own = self._ridge
        return LeaveOneOut.of(own.errors, own.deviations * students_reach(own.freedom))

    @property
    def _ridge(self) -> _Ridge:
        if self._fitted is None:
            raise ValueError("expected a fitted model; call fit first")
        return self._fitted

    def _terms(self, widths: Array) -> Array:
        columns = [np.ones((len(widths), 1)), widths, widths**2, widths[:, 1:] * widths[:, :-1]]
        if self._features is not None:
            columns.append(self._features(widths))
        return np.concatenate(columns, axis=1)


def size_features(sizes: FigureModel, largest: float) -> Features:
    """Return the square and the cube of a network's size, by which latency bends where a cache is full.

    Args:
        sizes: fitted to the sizes of whole networks.
        largest: in the same unit; what 1 is.
    """

    def features(widths: Array) -> Array:
        relative = sizes.predict(widths).mean / largest
        return np.stack([relative**2, relative**3], axis=1)

    return features


def _ridge(rows: Array, penalty: float) -> _Ridge:
    """Regress 1 on ``rows`` (terms / measured): the residual is the relative error."""
    gram = rows.T @ rows
    inverse: Array = np.asarray(np.linalg.pinv(gram + penalty * np.eye(len(gram))), dtype=np.float64)
    coefficients = inverse @ rows.sum(axis=0)
    leverages = np.clip(np.einsum("ij,jk,ik->i", rows, inverse, rows), 0.0, 0.999)
    residuals = 1.0 - rows @ coefficients
    # Leaving a row out of a linear fit changes its residual by 1 / (1 - leverage) (Allen's PRESS, 1974).
    return _Ridge(penalty, coefficients, inverse, residuals / (1.0 - leverages), leverages)
