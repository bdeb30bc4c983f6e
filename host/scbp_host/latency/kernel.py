"""What a figure of two structures has in common: the covariance that the staircase model begins with.

It is a sum of components with a variance each, which measurements decide:

- **level**: the same for all.
- **trend**: what the additive model is made of, w_k, w_k^2 and w_k * w_(k-1).
- **features**: whatever is given beside the widths, such as a roofline.
- **bend**: any smooth function of neighbours (w_(k-1), w_k), in proportion to their work.
- **own step**: a table over each superblock's own widths.
- **pair step**: a table over neighbours, in proportion to their work: what a runtime loses where the channels of two
  layers do not fill its blocks.
- **whole**: any smooth function of all widths at once, such as weights that stop fitting into a cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

Array = NDArray[np.float64]

COMPONENTS = ("level", "trend", "features", "bend", "own step", "pair step", "whole")
_BOUNDS = (1e-9, 1e4)
# Relative widths over which a bend is one bend; half an octave of the widest.
_BEND_LENGTH = 0.3
_WHOLE_LENGTH = 0.5
# Widths that are multiples of a channel step are this far apart at least.
_SAME = 1e-6


class StructureKernel(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """A kernel for scikit-learn over rows of (relative widths, features, scale).

    The last column is what a row's value was divided by, so that errors count relative to it.

    Args:
        superblocks: how many columns are widths.
        variances: of :data:`COMPONENTS`.
    """

    def __init__(self, superblocks: int, variances: Any) -> None:
        # scikit-learn copies kernels by their arguments, which have to be kept as they came.
        self.superblocks = superblocks
        self.variances = variances
        self._fitted_to: tuple[Array, Array] | None = None

    @property
    def hyperparameter_variances(self) -> Hyperparameter:
        """What is fitted; scikit-learn finds it by its name."""
        return Hyperparameter("variances", "numeric", _BOUNDS, len(COMPONENTS))

    def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Return ``(n_X, n_Y)``; with ``eval_gradient`` also by each variance's logarithm."""
        own = self._among(X) if Y is None else _components(X, Y, self.superblocks)
        weighted = np.asarray(self.variances)[:, None, None] * own
        total = weighted.sum(axis=0)
        return (total, np.moveaxis(weighted, 0, 2)) if eval_gradient else total

    def _among(self, rows: Array) -> Array:
        """Return the components among the rows fitted to: a fit asks for them at dozens of variances."""
        if self._fitted_to is None or self._fitted_to[0] is not rows:
            self._fitted_to = rows, _components(rows, rows, self.superblocks)
        return self._fitted_to[1]

    def diag(self, X: Array) -> Array:  # noqa: N803
        """Return the diagonal of ``self(X)``."""
        widths, features = X[:, : self.superblocks], X[:, self.superblocks : -1]
        one, shared = np.ones(len(X)), np.mean(_work(widths) ** 2, axis=1)
        squares = [np.sum(own**2, axis=1) for own in (_terms(widths), features)]
        components = np.stack([one, *squares, shared, np.mean(widths**2, axis=1), shared, one])
        diagonal: Array = np.asarray(self.variances) @ components / X[:, -1] ** 2
        return diagonal

    def is_stationary(self) -> bool:
        """It is not: wide structures vary more."""
        return False


def _components(left: Array, right: Array, superblocks: int) -> Array:
    """Return ``(n_components, n_left, n_right)``, each about 1 between the seed and itself."""
    one, two = left[:, :superblocks], right[:, :superblocks]
    trend = _terms(one) @ _terms(two).T
    features = left[:, superblocks:-1] @ right[:, superblocks:-1].T
    apart = (one[:, None] - two[None]) ** 2
    same = apart < _SAME**2
    # The first superblock's neighbour is the image, which always has the same width.
    pair_apart = apart + np.concatenate([np.zeros_like(apart[..., :1]), apart[..., :-1]], axis=2)
    work = _work(one)[:, None] * _work(two)[None]
    bend = np.mean(work * np.exp(-pair_apart / (2 * _BEND_LENGTH**2)), axis=2)
    pair_step = np.mean(work * (pair_apart < _SAME**2), axis=2)
    own_step = np.mean(one[:, None] * two[None] * same, axis=2)
    whole = np.exp(-apart.mean(axis=2) / (2 * _WHOLE_LENGTH**2))
    return np.stack([np.ones_like(trend), trend, features, bend, own_step, pair_step, whole]) / np.outer(
        left[:, -1], right[:, -1]
    )


def _terms(widths: Array) -> Array:
    terms = np.concatenate([widths, widths**2, widths[:, 1:] * widths[:, :-1]], axis=1)
    scaled: Array = terms / np.sqrt(terms.shape[1])
    return scaled


def _work(widths: Array) -> Array:
    before = np.concatenate([np.ones((len(widths), 1)), widths[:, :-1]], axis=1)
    work: Array = widths * before
    return work
