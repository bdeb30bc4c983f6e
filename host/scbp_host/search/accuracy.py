"""What is known of accuracy before anything is trained, and what trainings then teach about all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

Array = NDArray[np.float64]

# A deviation below this would make an expectation a certainty.
_LEAST_STD = 1e-4


@dataclass(frozen=True)
class AccuracyPrior:
    """What a search may go by; one row for each structure of the pool.

    Attributes:
        guess: ``(n_pool,)``, the higher the more accurate; only the order counts.
        features: ``(n_pool, n_features)`` what accuracy is a linear function of, all 0 at the seed.
        seed_guess: the seed's own, on the scale of ``guess``.
    """

    guess: Array
    features: Array
    seed_guess: float

    def posterior(self, rows: Sequence[int], top1: Sequence[float], seed_top1: float) -> tuple[Array, Array]:
        """Expect the accuracy of every structure from those that were trained, by Bayesian ridge regression.

        Args:
            rows: of the trained structures.
            top1: their accuracies, in [0, 1].
            seed_top1: the seed's.

        Returns:
            expectations and standard deviations, each ``(n_pool,)``.
        """
        known = np.concatenate([self.features[list(rows)], np.zeros((1, self.features.shape[1]))])
        model = BayesianRidge().fit(known, np.asarray([*top1, seed_top1]))
        expected, std = model.predict(self.features, return_std=True)
        return expected, np.maximum(std, _LEAST_STD)


def prior_of_importance(importance_kept: Array, widths: Array) -> AccuracyPrior:
    """Guess by the share of the seed's importance that survives; learn from the widths.

    Args:
        importance_kept: ``(n_pool,)``, in (0, 1].
        widths: ``(n_pool, n_superblocks)`` channels kept / the seed's channels.
    """
    return AccuracyPrior(importance_kept, np.log2(widths), 1.0)


def prior_of_estimates(estimates: Array, seed_estimate: float, widths: Array) -> AccuracyPrior:
    """Guess by estimated accuracies, and learn how they are related to true ones.

    Where there are more structures than estimates, the others' are predicted: a Bayesian ridge regression of second
    order on the logarithms of the widths.

    Args:
        estimates: ``(n_pool,)`` in [0, 1], NaN where there is none; at least one is there.
        seed_estimate: the seed's own.
        widths: ``(n_pool, n_superblocks)`` channels kept / the seed's channels.
    """
    known = ~np.isnan(estimates)
    if not known.all():
        logs = np.log2(widths)
        model = make_pipeline(PolynomialFeatures(2, include_bias=False), BayesianRidge())
        predicted = model.fit(logs[known], estimates[known]).predict(logs)
        estimates = np.where(known, estimates, predicted)
    return AccuracyPrior(estimates, (estimates - seed_estimate)[:, None], seed_estimate)
