"""An additive model of latency, memory or file size over the superblocks' widths.

A convolution's work grows with input channels times output channels, its traffic with either. Summed over a network
whose superblocks have relative widths w_1..w_K, this gives the terms 1, w_k, w_k^2 and w_k * w_(k-1). Where weights
stop fitting into a processor's caches, latency bends with the size of the whole network, which no sum over superblocks
can say: for latency, the square and the cube of the network's relative size join the terms.

It is fitted by ridge regression on the *relative* error (each row divided by its measured value), since 0.1 ms is much
for a fast candidate and little for a slow one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval

Array = NDArray[np.float64]

# Candidates for the ridge penalty, relative to the mean of the Gram matrix's diagonal; leave-one-out chooses.
_PENALTIES = np.logspace(-8, 1, 19)
# A fit that passes through a point says nothing about it left out: such penalties are too small for the data.
_MAX_LEVERAGE = 0.95
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class LeaveOneOut:
    """How well the model predicts each measured structure from all the others.

    Attributes:
        measured: structures.
        within_10_percent: share of them predicted within 10 %.
        largest_error: largest |predicted / measured - 1|.
        coverage: share whose measurement lies in its own 95 % interval.
    """

    measured: int
    within_10_percent: float
    largest_error: float
    coverage: float


class AdditiveModel:
    """Fitted by :meth:`fit`; predicts a value with its 95 % interval.

    Args:
        penalty: of the ridge regression that was fitted.
        coefficients: ``(n_terms,)``.
        inverse_gram: ``(n_terms, n_terms)``, for the leverage of a prediction.
        relative_errors: ``(n_measured,)`` leave-one-out errors, (measured - predicted) / measured.
        leverages: ``(n_measured,)`` of the measured structures.
    """

    def __init__(
        self, penalty: float, coefficients: Array, inverse_gram: Array, relative_errors: Array, leverages: Array
    ) -> None:
        self.penalty = penalty
        self._coefficients = coefficients
        self._inverse_gram = inverse_gram
        self._errors = relative_errors
        self._leverages = leverages

    @classmethod
    def fit(
        cls, widths: Array, values: Array, penalty: float | None = None, sizes: Array | None = None
    ) -> AdditiveModel:
        """Fit to measurements.

        Args:
            widths: ``(n, n_superblocks)`` relative widths in (0, 1].
            values: ``(n,)`` measured, above zero.
            penalty: of the ridge regression; None lets leave-one-out choose.
            sizes: ``(n,)`` relative size of the whole network in (0, 1]; None leaves its terms out.

        Raises:
            ValueError: fewer than two measurements, or a value that is not above zero.
        """
        if len(values) < 2 or len(values) != len(widths) or not np.all(values > 0):
            raise ValueError("expected at least two measurements, all above zero")
        rows = _terms(widths, sizes) / values[:, None]
        if penalty is not None:
            return _ridge(rows, penalty)
        fits = [_ridge(rows, float(own)) for own in _PENALTIES * np.mean(np.sum(rows**2, axis=0))]
        fair = [model for model in fits if float(model._leverages.max()) <= _MAX_LEVERAGE] or fits[-1:]
        return min(fair, key=lambda model: model.squared_error)

    @property
    def squared_error(self) -> float:
        """Mean squared leave-one-out error, relative to what was measured."""
        return float(np.mean(self._errors**2))

    def predict(self, widths: Array, sizes: Array | None = None) -> list[Interval]:
        """Predict ``(n, n_superblocks)`` relative widths, with ``sizes`` where it was fitted with them."""
        terms = _terms(widths, sizes)
        values = np.maximum(terms @ self._coefficients, 1e-12)
        scaled = terms / values[:, None]
        leverages = np.einsum("ij,jk,ik->i", scaled, self._inverse_gram, scaled)
        spread = self._quantile() * np.sqrt(1.0 + np.clip(leverages, 0.0, None))
        return [
            Interval(float(value), float(value * max(0.0, 1.0 - margin)), float(value * (1.0 + margin)))
            for value, margin in zip(values, spread, strict=True)
        ]

    def leave_one_out(self) -> LeaveOneOut:
        """Judge the model by structures it did not see."""
        errors = np.abs(self._errors)
        # A left-out structure's own variance is sigma^2 / (1 - h).
        margins = self._quantile() / np.sqrt(np.clip(1.0 - self._leverages, 1e-3, None))
        # Errors are relative to what was measured; users read them relative to it too.
        return LeaveOneOut(
            measured=len(errors),
            within_10_percent=float(np.mean(errors <= 0.10)),
            largest_error=float(np.max(errors)),
            coverage=float(np.mean(errors <= margins)),
        )

    def _quantile(self) -> float:
        in_sample = self._errors * (1.0 - self._leverages)
        freedom = max(1.0, len(self._errors) - float(np.sum(self._leverages)))
        sigma = float(np.sqrt(np.sum(in_sample**2) / freedom))
        return sigma * float(stats.t.ppf((1.0 + _CONFIDENCE) / 2.0, freedom))


def _terms(widths: Array, sizes: Array | None) -> Array:
    columns = [np.ones((len(widths), 1)), widths, widths**2, widths[:, 1:] * widths[:, :-1]]
    if sizes is not None:
        columns += [sizes[:, None] ** 2, sizes[:, None] ** 3]
    return np.concatenate(columns, axis=1)


def _ridge(rows: Array, penalty: float) -> AdditiveModel:
    """Regress 1 on ``rows`` (terms / measured): the residual is the relative error."""
    gram = rows.T @ rows
    inverse: Array = np.asarray(np.linalg.pinv(gram + penalty * np.eye(len(gram))), dtype=np.float64)
    coefficients = inverse @ rows.sum(axis=0)
    leverages = np.clip(np.einsum("ij,jk,ik->i", rows, inverse, rows), 0.0, 0.999)
    residuals = 1.0 - rows @ coefficients
    # Leaving a row out of a linear fit changes its residual by 1 / (1 - leverage) (Allen's PRESS, 1974).
    return AdditiveModel(penalty, coefficients, inverse, residuals / (1.0 - leverages), leverages)
