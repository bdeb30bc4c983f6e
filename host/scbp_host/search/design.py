"""Which structures to measure first: a spread of the space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def maximin(points: NDArray[np.float64], count: int, first: int) -> list[int]:
    """Choose ``count`` rows, each as far as possible from those chosen before it.

    Greedy maximin (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985): at most twice as far
    from the best spread, and any prefix of it is a spread too.

    Args:
        points: ``(n, dimensions)``.
        count: how many; all of them where there are fewer.
        first: the row to begin with.
    """
    chosen = [first]
    nearest = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < min(count, len(points)):
        nearest[chosen[-1]] = -np.inf  # never twice, also where another point lies at the same place
        following = int(np.argmax(nearest))
        chosen.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[following], axis=1))
    return chosen
