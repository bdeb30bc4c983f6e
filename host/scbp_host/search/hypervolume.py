"""Hypervolume in two objectives, latency (less is better) and accuracy (more is better): exact, by staircases.

For a front, let a(t) be the best accuracy within a latency of t, and not below the reference's. The hypervolume is the
area between a(t) and the reference's accuracy, up to the reference's latency; a new point adds what of its own
rectangle lies above a(t). Both are sums over the steps of a staircase.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reference = tuple[float, float]
"""(latency, accuracy): what is slower or less accurate is worth nothing."""


def hypervolume(latency: Array, accuracy: Array, reference: Reference) -> Array:
    """Return ``(n_worlds,)`` areas that the points dominate.

    Args:
        latency: ``(n_worlds, n_points)``.
        accuracy: ``(n_worlds, n_points)``.
        reference: the worst corner.
    """
    starts, ends, heights = _staircase(latency, accuracy, reference)
    area: Array = ((heights - reference[1]) * (ends - starts)).sum(axis=1)
    return area


def improvements(front: tuple[Array, Array], points: tuple[Array, Array], reference: Reference) -> Array:
    """Return ``(n_worlds, n_points)``: how much the hypervolume grows by each point alone.

    Args:
        front: latencies and accuracies, each ``(n_worlds, n_front)``; dominated ones may be among them.
        points: latencies and accuracies, each ``(n_worlds, n_points)``.
        reference: the worst corner.
    """
    latency, accuracy = points
    starts, ends, heights = _staircase(*front, reference)
    # What is faster than everything on the front stands above the reference alone.
    first = starts[:, :1] if starts.shape[1] else np.full((len(latency), 1), reference[0])
    gained = (np.minimum(first, reference[0]) - np.minimum(latency, first)) * np.clip(accuracy - reference[1], 0, None)
    for step in range(starts.shape[1]):
        start, end, height = (own[:, step, None] for own in (starts, ends, heights))
        gained += np.clip(end - np.maximum(start, latency), 0, None) * np.clip(accuracy - height, 0, None)
    return gained


def _staircase(latency: Array, accuracy: Array, reference: Reference) -> tuple[Array, Array, Array]:
    """Return where each step starts and ends in latency, and its accuracy; each ``(n_worlds, n_points)``."""
    order = np.argsort(latency, axis=1, kind="stable")
    starts = np.minimum(np.take_along_axis(latency, order, axis=1), reference[0])
    heights = np.maximum.accumulate(np.take_along_axis(accuracy, order, axis=1), axis=1)
    ends = np.concatenate([starts[:, 1:], np.full((len(starts), 1), reference[0])], axis=1)
    return starts, ends, np.maximum(heights, reference[1])
