"""Why the figures of a measurement may be off, one line each, each with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import Blocks, quantile_ns

# Two measurements of one model are meant to agree within this.
_RATIO_TOLERANCE = 0.03
# On a quiet machine the slowest runs take little more than the median.
_TAIL_FACTOR = 2.0
_CLOCK_DROP = 0.9
_LOW_MEMORY_BYTES = 200 * 1024 * 1024
# Disturbed is what took this much longer than the quiet quarter of a run: above what one model's quick runs differ by
# from load to load, below what a neighbour on the same core or in the same cache costs.
_DISTURBED_FACTOR = 1.25


def disturbed(reference_p10_ns: Mapping[str, float]) -> list[str]:
    """Return the measurements during which something else had the machine, as the reference tells.

    The reference is the same model in every measurement, so where even its quick runs were slow it was not the model.

    Args:
        reference_p10_ns: 10 % quantile of the reference's samples in each measurement of a run, by name.

    Returns:
        the names of those more than 1.25 times the lower quartile, in the order given.
    """
    if not reference_p10_ns:
        return []
    quiet_ns = float(np.quantile(list(reference_p10_ns.values()), 0.25))
    return [name for name, own_ns in reference_p10_ns.items() if own_ns > _DISTURBED_FACTOR * quiet_ns]


def stability_warnings(ratio: Interval, blocks: Blocks, conditions: dict[str, Any]) -> tuple[str, ...]:
    """Return warnings about one paired measurement; empty where nothing is suspicious.

    Args:
        ratio: the latency ratio with its interval.
        blocks: the candidate's samples, ``(n_blocks, n_samples of the block)`` in ns.
        conditions: ``{"before": {...}, "after": {...}}`` as the agent reads them; what it could not read is None.
    """
    before, after = conditions.get("before") or {}, conditions.get("after") or {}
    found = (_wide(ratio), _slow_tail(blocks), _clocks(before, after), _memory(after))
    return tuple(warning for warning in found if warning)


def _wide(ratio: Interval) -> str:
    half_width = (ratio.high - ratio.low) / 2.0 / ratio.value
    if half_width <= _RATIO_TOLERANCE:
        return ""
    return f"the latency ratio is known to ±{half_width:.1%} only: close other programs, or measure more blocks"


def _slow_tail(blocks: Blocks) -> str:
    factor = quantile_ns(blocks, 0.99) / quantile_ns(blocks, 0.5)
    if factor <= _TAIL_FACTOR:
        return ""
    return f"p99 is {factor:.1f} times p50: something else uses the processor; stop it, or use fewer threads"


def _clocks(before: dict[str, Any], after: dict[str, Any]) -> str:
    start, end = _fastest_khz(before), _fastest_khz(after)
    if start is None or end is None or end >= start * _CLOCK_DROP:
        return ""
    return (
        f"the processor slowed down from {start // 1000} to {end // 1000} MHz: it throttles or saves power;"
        " cool it, and set the governor to performance"
    )


def _fastest_khz(conditions: dict[str, Any]) -> int | None:
    clocks = [khz for khz in (conditions.get("cpu_freq_khz") or {}).values() if khz is not None]
    return max(clocks, default=None)


def _memory(after: dict[str, Any]) -> str:
    available = after.get("memory_available_bytes")
    if available is None or available >= _LOW_MEMORY_BYTES:
        return ""
    return f"only {available // 2**20} MB of memory were left: stop other programs, the board may have been swapping"
