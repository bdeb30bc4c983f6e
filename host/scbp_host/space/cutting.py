"""Cutting a sequence into contiguous bins of nearly equal weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scbp_host.errors import UsageError

# Sums of floats taken in another order differ by this much, relative to the whole.
_ROUNDING = 1e-12


def equal_cuts(weights: Sequence[float], bins: int) -> tuple[int, ...]:
    """Cut ``weights`` into ``bins`` contiguous bins, none empty, each as near to an equal share as can be.

    The largest deviation of a bin from ``sum(weights) / bins`` is the least possible. Of all such cuts those with the
    least sum of squared deviations are taken: where one item is far larger than a share, it alone would decide, and
    leave the other cuts to chance. Both by dynamic programming over prefixes, as in Bellman's partition of a sequence.

    Args:
        weights: each at least 0.
        bins: from 1 to ``len(weights)``.

    Returns:
        for each bin but the first the index of its first item, ascending.

    Raises:
        UsageError: more bins than items.
    """
    if not 1 <= bins <= len(weights):
        message = f"superblocks: expected from 1 to {len(weights)}, the number of channel groups, got {bins}"
        raise UsageError(message, "run: scbp-host space show")
    deviations = _deviations(np.asarray(weights, dtype=np.float64), bins)
    allowed = _least_largest(deviations, bins) + _ROUNDING * float(np.sum(weights))
    return _least_squares(np.where(deviations <= allowed, deviations**2, np.inf), bins)


def _deviations(weights: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return [i, j]: how far the bin of items i to j - 1 is from an equal share; infinite for an empty bin."""
    prefix = np.concatenate([[0.0], np.cumsum(weights)])
    deviations = np.abs(prefix[None, :] - prefix[:, None] - prefix[-1] / bins)
    return np.where(np.triu(np.ones_like(deviations), k=1) > 0, deviations, np.inf)


def _least_largest(deviations: NDArray[np.float64], bins: int) -> float:
    """Return the least possible largest deviation of ``bins`` bins."""
    best = deviations[0]  # [j]: of the first j items in one bin, then in two, and so on
    for _ in range(bins - 1):
        best = np.min(np.maximum(best[:, None], deviations), axis=0)
    return float(best[-1])


def _least_squares(squares: NDArray[np.float64], bins: int) -> tuple[int, ...]:
    """Return the cuts whose bins have the least sum of ``squares``."""
    best, starts = squares[0], []
    for _ in range(bins - 1):
        sums = best[:, None] + squares
        starts.append(np.argmin(sums, axis=0))
        best = np.min(sums, axis=0)
    cuts, end = [], squares.shape[0] - 1
    for start in reversed(starts):
        end = int(start[end])
        cuts.append(end)
    return tuple(reversed(cuts))
