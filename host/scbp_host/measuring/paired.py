"""Statistics of paired blocks; pure functions over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval

RESAMPLES = 2000
CONFIDENCE = 0.95

Blocks = Sequence[Sequence[int]]


def latency_ratio(candidate_blocks: Blocks, reference_blocks: Blocks, random_seed: int, *, loads: int = 1) -> Interval:
    """Return candidate latency / reference latency with its 95 % confidence interval.

    Candidate block i and reference block i were taken side by side and share the clock, the heat and the load of their
    moment, so each pair gives one ratio, of the medians of its two blocks. The pairs after one load of the models give
    the median of theirs, and the value is the geometric mean over the loads: a median would be as noisy as one load.

    The interval is a percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) in
    two stages: 2,000 times, loads are drawn with replacement, and pairs within each (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8). All of it happens on logarithms, so exchanging the two models
    inverts value and bounds.

    Args:
        candidate_blocks: ``(n_blocks, n_samples of the block)`` latencies in ns, above zero, in the order taken.
        reference_blocks: the same for the reference, as many blocks; block i was taken beside the candidate's block i.
        random_seed: of the resampling.
        loads: how often the models were loaded anew; the blocks are in load order, as many after each.

    Raises:
        ValueError: the numbers of blocks differ, there is none, or they are no multiple of ``loads``.
    """
    count = len(candidate_blocks)
    if count == 0 or count != len(reference_blocks):
        raise ValueError(f"expected pairs of blocks, got {count} and {len(reference_blocks)}")
    if count % loads:
        raise ValueError(f"expected a multiple of {loads} loads, got {count} pairs of blocks")
    ratios = (_log_medians(candidate_blocks) - _log_medians(reference_blocks)).reshape(loads, -1)
    random = np.random.default_rng(random_seed)
    drawn_loads = random.integers(loads, size=(RESAMPLES, loads))
    drawn_pairs = random.integers(ratios.shape[1], size=(RESAMPLES, *ratios.shape))
    resampled = np.median(ratios[drawn_loads[:, :, None], drawn_pairs], axis=2).mean(axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    middle = np.median(ratios, axis=1).mean()
    # With few pairs the sample's own median can lie a hair outside those of its resamples.
    value, low, high = np.exp([middle, min(low, middle), max(high, middle)])
    return Interval(float(value), float(low), float(high))


def pooled_ratio(ratios: Sequence[Interval]) -> Interval:
    """Return one figure from a model's ratios in several measurements, with its 95 % confidence interval.

    The geometric mean, with Student's t over the measurements' logarithms: what moves between measurements is more than
    what each can see of itself. A single measurement keeps its own interval.

    Raises:
        ValueError: there is no ratio.
    """
    if not ratios:
        raise ValueError("expected at least one ratio")
    if len(ratios) == 1:
        return ratios[0]
    logs = np.log([own.value for own in ratios])
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2.0, len(logs) - 1) * stats.sem(logs)
    value, low, high = np.exp(logs.mean() + np.array([0.0, -reach, reach]))
    return Interval(float(value), float(low), float(high))


def quantile_ns(blocks: Blocks, fraction: float) -> float:
    """Return a quantile over all samples of all blocks, e.g. 0.5 for p50 and 0.99 for p99, in ns."""
    return float(np.quantile(np.concatenate([np.asarray(block) for block in blocks]), fraction))


def _log_medians(blocks: Blocks) -> NDArray[np.float64]:
    """Return ``(n_blocks,)``, the logarithm of each block's median."""
    return np.log(np.array([np.median(block) for block in blocks], dtype=np.float64))
