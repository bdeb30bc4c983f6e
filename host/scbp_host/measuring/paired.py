"""Statistics of paired blocks; pure functions over samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval

CONFIDENCE = 0.95

# Of the loads so many are left out at either end, from so many loads on.
TRIMMED, TRIMMED_FROM = 0.2, 8
TRIMMED_CONFIDENCE = 0.97

Blocks = Sequence[Sequence[int]]
Array = NDArray[np.float64]


def latency_ratio(candidate_blocks: Blocks, reference_blocks: Blocks, *, loads: int = 1) -> Interval:
    """Return candidate latency / reference latency with its 95 % confidence interval.

    Candidate block i and reference block i were taken side by side and share the clock, the heat and the load of their
    moment, so each pair gives one ratio, of the medians of its two blocks. The pairs after one load of the models give
    the median of theirs, and the loads are one sample (:func:`interval_of_loads`). After a single load there are only
    the pairs, with :func:`interval_of_median`. All of it happens on logarithms, so exchanging the two models inverts
    value and bounds.

    Args:
        candidate_blocks: ``(n_blocks, n_samples of the block)`` latencies in ns, above zero, in the order taken.
        reference_blocks: the same for the reference, as many blocks; block i was taken beside the candidate's block i.
        loads: how often the models were loaded anew; the blocks are in load order, as many after each.

    Raises:
        ValueError: the numbers of blocks differ, there is none, or they are no multiple of ``loads``.
    """
    logs = _pair_logs(candidate_blocks, reference_blocks, loads)
    return interval_of_loads(np.median(logs, axis=1)) if loads > 1 else interval_of_median(logs[0])


def load_logs(candidate_blocks: Blocks, reference_blocks: Blocks, loads: int) -> Array:
    """Return ``(loads,)``: after each load the logarithm of the ratio; arguments as of :func:`latency_ratio`."""
    return np.asarray(np.median(_pair_logs(candidate_blocks, reference_blocks, loads), axis=1))


def interval_of_loads(logs: Array) -> Interval:
    """Return the ratio over several loads with its 95 % confidence interval.

    The trimmed mean, a fifth of the loads left out at either end, with Student's t over the Winsorized deviation (Tukey
    and McLaughlin, Less vulnerable confidence and significance procedures, Sankhya A 25, 1963): where something else
    has the processor, one load in ten is off by 10 % and more, and the plain mean's interval is twice as wide. The
    bounds are taken at 97 %, since at 95 % a trimmed mean's cover the truth in 94 %, and where somebody measures until
    they are narrow (:mod:`scbp_host.measuring.stopping`), in 92 to 93 %. Below eight loads there is nothing to spare,
    and it is the plain mean's t. A bootstrap over four loads covers the truth in four of five cases, since four loads
    spread less than all that they are of, which Student's t allows for; one that draws the pairs within the loads as
    well, which came before, covers 92 % with intervals 1.8 times as wide. ``tests/bench/stopping.py`` compares them by
    simulation.

    Args:
        logs: ``(loads,)`` logarithms of the ratio after each load, two at least.
    """
    loads = len(logs)
    cut, confidence = (int(TRIMMED * loads), TRIMMED_CONFIDENCE) if loads >= TRIMMED_FROM else (0, CONFIDENCE)
    ordered = np.sort(logs)
    kept = ordered[cut : loads - cut]
    winsorized = np.clip(logs, kept[0], kept[-1])
    middle = kept.mean()
    error = winsorized.std(ddof=1) * math.sqrt(loads) / len(kept)
    reach = students_t(len(kept) - 1, confidence) * error
    return interval_of_logs(middle, middle - reach, middle + reach)


def interval_of_median(logs: Array) -> Interval:
    """Return the median with its 95 % interval from order statistics, which assumes nothing but independent pairs.

    From six values on, the bounds are those two of them between which the median lies with 95 % or more (Conover,
    Practical Nonparametric Statistics, 1999, section 3.2); fewer cannot tell so much, and the bounds are the extremes.

    Args:
        logs: ``(n,)`` logarithms of ratios.
    """
    ordered = np.sort(logs)
    rank = max(0, int(stats.binom.ppf((1.0 - CONFIDENCE) / 2.0, len(logs), 0.5)) - 1)
    return interval_of_logs(np.median(logs), ordered[rank], ordered[-1 - rank])


@cache
def students_t(freedom: int, confidence: float) -> float:
    """Return the two-sided quantile; a session asks for the same ones again and again."""
    return float(stats.t.ppf(0.5 + confidence / 2.0, freedom))


def interval_of_logs(*logs: float) -> Interval:
    """Return an interval from the logarithms of its value and its bounds."""
    value, low, high = map(math.exp, logs)
    return Interval(value, low, high)


def floor_ratio(candidate_blocks: Blocks, reference_blocks: Blocks) -> float:
    """Return candidate latency / reference latency by the fast runs: what a latency model learns from.

    Each pair of blocks gives one ratio, of the 10 % quantiles of its two blocks; the median of these. What a neighbour
    on the machine does makes runs slower, hardly ever faster, so the fast runs say what the structure costs, and those
    taken side by side had the same clock. Two passes over 256 networks agreed better by it than by medians
    (``tests/bench/tabular.py``); users meet the median, which is what :func:`latency_ratio` is of.

    Args:
        candidate_blocks: ``(n_blocks, n_samples of the block)`` latencies in ns, above zero.
        reference_blocks: the same for the reference; block i was taken beside the candidate's block i.
    """
    pairs = zip(candidate_blocks, reference_blocks, strict=True)
    return float(np.exp(np.median([np.log(quantile_ns([one], 0.1) / quantile_ns([two], 0.1)) for one, two in pairs])))


def quantile_ns(blocks: Blocks, fraction: float) -> float:
    """Return a quantile over all samples of all blocks, e.g. 0.5 for p50 and 0.99 for p99, in ns."""
    return float(np.quantile(np.concatenate([np.asarray(block) for block in blocks]), fraction))


def quantile_interval_ns(blocks: Blocks, fraction: float, *, loads: int) -> Interval:
    """Return a quantile over all samples with a 95 % interval of this session: by how much it moved from load to load.

    Other sessions, with other neighbours and clocks, may be further away: only ratios cancel what is common.

    Args:
        blocks: ``(n_blocks, n_samples of the block)`` latencies in ns, in load order, as many after each load.
        fraction: e.g. 0.99 for p99.
        loads: how often the model was loaded anew, two at least.
    """
    own = np.array_split(np.arange(len(blocks)), loads)
    logs = np.log([quantile_ns([blocks[row] for row in rows], fraction) for rows in own])
    spread, value = interval_of_loads(logs), quantile_ns(blocks, fraction)
    return Interval(value, value * min(1.0, spread.low / spread.value), value * max(1.0, spread.high / spread.value))


def _pair_logs(candidate_blocks: Blocks, reference_blocks: Blocks, loads: int) -> Array:
    """Return ``(loads, blocks after each)``, the logarithm of each pair's ratio; raises ValueError."""
    count = len(candidate_blocks)
    if count == 0 or count != len(reference_blocks):
        raise ValueError(f"expected pairs of blocks, got {count} and {len(reference_blocks)}")
    if count % loads:
        raise ValueError(f"expected a multiple of {loads} loads, got {count} pairs of blocks")
    return (_log_medians(candidate_blocks) - _log_medians(reference_blocks)).reshape(loads, -1)


def _log_medians(blocks: Blocks) -> Array:
    """Return ``(n_blocks,)``, the logarithm of each block's median."""
    return np.log(np.array([statistics.median(block) for block in blocks], dtype=np.float64))
