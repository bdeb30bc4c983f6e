"""Statistics of paired blocks; pure functions over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.measurement import Interval

RESAMPLES = 2000
CONFIDENCE = 0.95

Blocks = Sequence[Sequence[int]]


def latency_ratio(candidate_blocks: Blocks, reference_blocks: Blocks, random_seed: int) -> Interval:
    """Return candidate latency / reference latency with its 95 % confidence interval.

    Candidate block i and reference block i were taken side by side and share the clock, the heat and the load of their
    moment, so each pair gives one ratio, of the medians of its two blocks; the value is the median of these ratios. On
    a busy machine it moved less from session to session than the ratio of the medians over all samples did.

    The interval is a percentile bootstrap over the pairs (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13): 2,000 times, whole pairs are drawn with replacement. All of it happens on logarithms, so exchanging the
    two models inverts value and bounds.

    Args:
        candidate_blocks: ``(n_blocks, n_samples of the block)`` latencies in ns, above zero, in the order taken.
        reference_blocks: the same for the reference, as many blocks; block i was taken beside the candidate's block i.
        random_seed: of the resampling.

    Raises:
        ValueError: the numbers of blocks differ, or there is none.
    """
    count = len(candidate_blocks)
    if count == 0 or count != len(reference_blocks):
        raise ValueError(f"expected pairs of blocks, got {count} and {len(reference_blocks)}")
    ratios = _log_medians(candidate_blocks) - _log_medians(reference_blocks)
    draws = np.random.default_rng(random_seed).integers(count, size=(RESAMPLES, count))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.median(ratios[draws], axis=1), [tail, 1.0 - tail])
    middle = np.median(ratios)
    # With few pairs the sample's own median can lie a hair outside those of its resamples.
    value, low, high = np.exp([middle, min(low, middle), max(high, middle)])
    return Interval(float(value), float(low), float(high))


def quantile_ns(blocks: Blocks, fraction: float) -> float:
    """Return a quantile over all samples of all blocks, e.g. 0.5 for p50 and 0.99 for p99, in ns."""
    return float(np.quantile(np.concatenate([np.asarray(block) for block in blocks]), fraction))


def _log_medians(blocks: Blocks) -> NDArray[np.float64]:
    """Return ``(n_blocks,)``, the logarithm of each block's median."""
    return np.log(np.array([np.median(block) for block in blocks], dtype=np.float64))
