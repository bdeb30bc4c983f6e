"""Which structures to measure first: every pair of neighbours' widths, and a spread of the space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scbp_host.search.orthogonal import orthogonal_array

Array = NDArray[np.float64]
Levels = NDArray[np.int64]


def covering(points: Array, count: int, random_seed: int) -> list[int]:
    """Choose ``count`` rows that together show every pair of values of two adjacent columns, as far as they can.

    A layer's latency is a staircase of its own width and of its neighbour's, so a pair that no row shows has to be
    guessed. Where all columns have as many levels, and the rows of an orthogonal array are there, these come first:
    they show all pairs of any two columns, in the fewest rows. Whatever pair is missing then is covered greedily
    (as Cohen et al., "The AETG system", IEEE Transactions on Software Engineering, 1997), and what is left of
    ``count`` is a spread. Among equals, the row furthest from those chosen is taken, so a prefix is a spread too.

    Args:
        points: ``(n, dimensions)``, in columns of few distinct values.
        count: how many; all of them where there are fewer.
        random_seed: decides between equals, and which orthogonal array it is.
    """
    random = np.random.default_rng(random_seed)
    jittered = points + random.uniform(-1e-3, 1e-3, points.shape)
    levels = _levels(points)
    # The whole seed is measured anyway, as the reference; the other end anchors the model.
    design = _Covering(jittered, levels, int(np.argmin(jittered.sum(axis=1))))
    design.extend(_rows_of_array(levels, random), count)
    design.extend(np.arange(len(points)), count)
    return maximin(jittered, count, design.chosen)


def maximin(points: Array, count: int, first: list[int]) -> list[int]:
    """Choose ``count`` rows, each as far as possible from those chosen before it.

    Greedy maximin (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985): at most twice as far
    from the best spread, and any prefix of it is a spread too.

    Args:
        points: ``(n, dimensions)``.
        count: how many; all of them where there are fewer.
        first: the rows to begin with, at least one.
    """
    chosen = list(first)
    nearest = _nearest(points, chosen)
    while len(chosen) < min(count, len(points)):
        nearest[chosen[-1]] = -np.inf  # never twice, also where another point lies at the same place
        following = int(np.argmax(nearest))
        chosen.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[following], axis=1))
    return chosen[:count]


def along(latency: Array, guess: Array, rows: Sequence[int], count: int) -> list[int]:
    """Cut the range of latency into ``count`` parts; take the best guess of accuracy from each, then the next best.

    Args:
        latency: ``(n_pool,)`` above zero; the parts are equal on a logarithmic scale.
        guess: ``(n_pool,)`` the higher the more accurate.
        rows: those to choose from.
        count: how many.
    """
    if not rows:
        return []
    logs = np.log(latency[list(rows)])
    parts = np.digitize(logs, np.linspace(logs.min(), logs.max(), count + 1)[1:-1])
    chosen = []
    for part in range(count):
        members = [row for row, own in zip(rows, parts, strict=True) if own == part]
        if members:
            chosen.append(max(members, key=lambda row: (guess[row], -latency[row])))
    rest = sorted((row for row in rows if row not in chosen), key=lambda row: -guess[row])
    return (chosen + rest)[:count]


class _Covering:
    """Rows chosen so far, and the pairs that they show.

    Args:
        points: ``(n, dimensions)``, no two alike.
        levels: ``(n, dimensions)``, the number of each value in its column.
        first: the row to begin with.
    """

    def __init__(self, points: Array, levels: Levels, first: int) -> None:
        self._points = points
        base = int(levels.max()) + 1
        pairs = levels[:, :-1] * base + levels[:, 1:] if levels.shape[1] > 1 else levels
        self._pairs = pairs + base**2 * np.arange(pairs.shape[1])
        self._shown = np.zeros(base**2 * pairs.shape[1], dtype=bool)
        self._nearest = np.full(len(points), np.inf)
        self.chosen: list[int] = []
        self._take(first)

    def extend(self, rows: Levels, count: int) -> None:
        """Take more of ``rows`` until they show nothing new, or ``count`` are taken."""
        while len(rows) and len(self.chosen) < count:
            new = (~self._shown[self._pairs[rows]]).sum(axis=1)
            if not new.any():
                return
            best = rows[new == new.max()]
            self._take(int(best[np.argmax(self._nearest[best])]))

    def _take(self, row: int) -> None:
        self.chosen.append(row)
        self._shown[self._pairs[row]] = True
        self._nearest = np.minimum(self._nearest, _nearest(self._points, [row]))


def _nearest(points: Array, chosen: list[int]) -> Array:
    """Return ``(n,)``, the distance to the nearest of the chosen, which themselves are out of reach."""
    distances: Array = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(axis=1)
    distances[chosen] = -np.inf
    return distances


def _levels(points: Array) -> Levels:
    columns = [np.unique(np.round(column, 6), return_inverse=True)[1] for column in points.T]
    return np.stack(columns, axis=1).astype(np.int64)


def _rows_of_array(levels: Levels, random: np.random.Generator) -> Levels:
    """Return the rows whose levels are those of an orthogonal array; none where it is not there."""
    counts = levels.max(axis=0) + 1
    array = orthogonal_array(int(counts[0]), levels.shape[1]) if (counts == counts[0]).all() else None
    if array is None:
        return np.empty(0, dtype=np.int64)
    # Level 0 keeps its name, so that the narrowest structure is one of the array's.
    names = [np.concatenate([[0], 1 + random.permutation(counts[0] - 1)]) for _ in counts]
    renamed = np.stack([own[column] for own, column in zip(names, array.T, strict=True)], axis=1)
    wanted = {tuple(row) for row in renamed.tolist()}
    present = np.flatnonzero([tuple(row) in wanted for row in levels.tolist()])
    # The seed may be one of them, and is no candidate. An array with more holes than that is none.
    return present if len(present) >= len(array) - 1 else np.empty(0, dtype=np.int64)
