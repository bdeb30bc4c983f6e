"""Statistics of paired blocks; pure functions over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.measurement import Interval

RESAMPLES = 2000
CONFIDENCE = 0.95

Blocks = Sequence[Sequence[int]]

# Resamples are worked through in slices, so that models with many samples do not need gigabytes.
_SLICE_ELEMENTS = 4_000_000


def latency_ratio(candidate_blocks: Blocks, reference_blocks: Blocks, random_seed: int) -> Interval:
    """Return candidate latency / reference latency with its 95 % confidence interval.

    The value is the ratio of the medians over all samples. The interval is a percentile bootstrap over block pairs
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): candidate block i and reference block i
    were taken side by side and share the clock, the heat and the load of their moment, so 2,000 times whole pairs are
    drawn with replacement, jointly. Its bounds are quantiles of the ratio's logarithm: exchanging the two models
    inverts them.

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
    random = np.random.default_rng(random_seed)
    # How often each pair was drawn, for every resample: (RESAMPLES, n_blocks).
    draws = random.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES)
    ratios = _log_medians(candidate_blocks, draws) - _log_medians(reference_blocks, draws)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.exp(np.quantile(ratios, [tail, 1.0 - tail]))
    value = quantile_ns(candidate_blocks, 0.5) / quantile_ns(reference_blocks, 0.5)
    # With few blocks the sample's own ratio can lie a hair outside its resamples.
    return Interval(value, min(float(low), value), max(float(high), value))


def quantile_ns(blocks: Blocks, fraction: float) -> float:
    """Return a quantile over all samples of all blocks, e.g. 0.5 for p50 and 0.99 for p99, in ns."""
    return float(np.quantile(np.concatenate([np.asarray(block) for block in blocks]), fraction))


def _log_medians(blocks: Blocks, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``(n_resamples,)`` logarithms of the median over the blocks drawn, each as often as it was drawn."""
    samples = np.concatenate([np.asarray(block, dtype=np.int64) for block in blocks])
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(samples, kind="stable")
    samples, owner = samples[order], owner[order]
    step = max(1, _SLICE_ELEMENTS // len(samples))
    slices = [draws[start : start + step] for start in range(0, len(draws), step)]
    medians = np.concatenate([_weighted_medians(samples, part[:, owner]) for part in slices])
    logarithms: NDArray[np.float64] = np.log(medians)
    return logarithms


def _weighted_medians(samples: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of sorted ``samples`` for each row of ``(n_resamples, n_samples)`` multiplicities."""
    seen = np.cumsum(weights, axis=1)
    total = seen[:, -1:]
    # The two middle elements; they are one and the same where the total is odd.
    lower = np.argmax(2 * seen >= total, axis=1)
    upper = np.argmax(2 * seen > total, axis=1)
    middle: NDArray[np.float64] = (samples[lower] + samples[upper]) / 2.0
    return middle
