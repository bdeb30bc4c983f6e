"""What a figure of two structures has in common: the covariance that the staircase model begins with.

A network is a row of parts: every superblock reads what the one before it writes, the first reads the image, and after
the last comes the head. A figure of the whole network is the sum over its parts, and a profile shows the parts
themselves. So the covariance is a sum over what two rows share: two networks have all parts in common, a network and
one of its parts just that. It is made of components with a variance each, which measurements decide:

- **level**: the same for all.
- **trend**: what the additive model is made of, w_k, w_k^2 and w_k * w_(k-1).
- **bend**: any smooth function of neighbours (w_(k-1), w_k), in proportion to their work.
- **own step**: a table over each superblock's own widths.
- **pair step**: a table over neighbours, in proportion to their work: what a runtime loses where the channels of two
  layers do not fill its blocks.

and of what only whole networks have:

- **features**: whatever is given beside the widths, such as a roofline.
- **whole**: any smooth function of all widths at once, such as weights that stop fitting into a cache.
- **between**: a trend of what no profile shows: it sees nodes, and a little time passes between them.

and of what only parts have:

- **profile**: their noise; its square is in proportion to what a part takes, since small parts are told less exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

Array = NDArray[np.float64]

COMPONENTS = ("level", "trend", "bend", "own step", "pair step", "features", "whole", "between", "profile")
_BOUNDS = (1e-9, 1e4)
# Relative widths over which a bend is one bend; half an octave of the widest.
_BEND_LENGTH = 0.3
_WHOLE_LENGTH = 0.5
# Widths that are multiples of a channel step are this far apart at least.
_SAME = 1e-6


class StructureKernel(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """A kernel for scikit-learn over rows of (relative widths, features, parts, scale).

    There is a column for each part, 1 where the row has it; a network has all. The scale is what a row's value was
    divided by, so that errors count relative to it.

    Args:
        superblocks: how many columns are widths.
        variances: of :data:`COMPONENTS`.
    """

    def __init__(self, superblocks: int, variances: Any) -> None:
        # scikit-learn copies kernels by their arguments, which have to be kept as they came.
        self.superblocks = superblocks
        self.variances = variances
        self._fitted: tuple[Array, Array] | None = None

    @property
    def hyperparameter_variances(self) -> Hyperparameter:
        """What is fitted; scikit-learn finds it by its name."""
        return Hyperparameter("variances", "numeric", _BOUNDS, len(COMPONENTS))

    def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Return ``(n_X, n_Y)``; with ``eval_gradient`` also by each variance's logarithm."""
        variances = np.asarray(self.variances)
        own = self._among(X) if Y is None else _shared(_Rows(X, self.superblocks), _Rows(Y, self.superblocks))
        total = np.tensordot(variances, own, axes=1)
        return (total, np.moveaxis(variances[:, None, None] * own, 0, 2)) if eval_gradient else total

    def diag(self, X: Array) -> Array:  # noqa: N803
        """Return the diagonal of ``self(X)``."""
        diagonal: Array = np.asarray(self.variances) @ _Rows(X, self.superblocks).own()
        return diagonal

    def is_stationary(self) -> bool:
        """It is not: wide structures vary more."""
        return False

    def _among(self, rows: Array) -> Array:
        """Return the components among the rows fitted to: a fit asks for them at dozens of variances."""
        if self._fitted is None or self._fitted[0] is not rows:
            own = _Rows(rows, self.superblocks)
            found = _shared(own, own)
            found[-1] = np.diag(own.own()[-1])
            self._fitted = rows, found
        return self._fitted[1]


class _Rows:
    """Rows, taken apart.

    Attributes:
        widths: ``(n, n_superblocks)``.
        features: ``(n, n_features)``; none of a part.
        is_whole: ``(n,)`` 1 of a network, 0 of a part.
        parts: ``(n, n_parts)``, 1 where a row has one.
        before: ``(n, n_parts)`` relative widths that a part reads.
        after: ``(n, n_parts)`` those that it writes; image and classes always have the same.
        terms: ``(n, n_parts, n_terms)`` of the trend.
        scale: ``(n,)``.
    """

    def __init__(self, rows: Array, superblocks: int) -> None:
        parts = superblocks + 1
        self.widths, self.parts, self.scale = rows[:, :superblocks], rows[:, -parts - 1 : -1], rows[:, -1]
        self.is_whole: Array = np.asarray(self.parts.all(axis=1), dtype=np.float64)
        self.features = rows[:, superblocks : -parts - 1] * self.is_whole[:, None]
        edge = np.ones((len(rows), 1))
        self.before = np.concatenate([edge, self.widths], axis=1)
        self.after = np.concatenate([self.widths, edge], axis=1)
        products = np.stack([self.before, self.after, self.work, self.after**2], axis=2)
        self.terms = products * self.parts[..., None] / np.sqrt(4.0 * parts)

    @property
    def work(self) -> Array:
        """``(n, n_parts)``, what the layers of a part have to do."""
        work: Array = self.before * self.after
        return work

    def own(self) -> Array:
        """Return ``(n_components, n)``, the components of each row with itself."""
        share = self.parts / self.parts.shape[1]
        level, steps = share.sum(axis=1), (share * self.after**2).sum(axis=1)
        work, features = (share * self.work**2).sum(axis=1), (self.features**2).sum(axis=1)
        trend = (self.terms**2).sum(axis=(1, 2))
        of_whole = [features, self.is_whole, self.is_whole * trend]
        squares = np.stack([level, trend, work, steps, work, *of_whole]) / self.scale**2
        return np.concatenate([squares, [(1.0 - self.is_whole) / self.scale]])


def _shared(one: _Rows, two: _Rows) -> Array:
    """Return ``(n_components, n_one, n_two)``, each about 1 between the seed and itself; without any noise."""
    share = one.parts[:, None] * two.parts[None] / one.parts.shape[1]
    work = share * one.work[:, None] * two.work[None]
    after = (one.after[:, None] - two.after[None]) ** 2
    apart = after + (one.before[:, None] - two.before[None]) ** 2
    trend = np.einsum("ipt,jpt->ij", one.terms, two.terms)
    whole = np.outer(one.is_whole, two.is_whole)
    far = ((one.widths[:, None] - two.widths[None]) ** 2).mean(axis=2)
    found = [
        share.sum(axis=2),
        trend,
        (work * np.exp(-apart / (2 * _BEND_LENGTH**2))).sum(axis=2),
        (share * one.after[:, None] * two.after[None] * (after < _SAME**2)).sum(axis=2),
        (work * (apart < _SAME**2)).sum(axis=2),
        one.features @ two.features.T,
        whole * np.exp(-far / (2 * _WHOLE_LENGTH**2)),
        whole * trend,
    ]
    return np.stack([*(np.stack(found) / np.outer(one.scale, two.scale)), np.zeros_like(trend)])
