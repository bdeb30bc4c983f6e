"""Why the figures of a measurement may be off, one line each, each with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import Blocks, quantile_ns

# Two measurements of one model are meant to agree within this.
_RATIO_TOLERANCE = 0.03
# On a quiet machine the slowest runs take little more than the median.
_TAIL_FACTOR = 2.0
_CLOCK_DROP = 0.9
_LOW_MEMORY_BYTES = 200 * 1024 * 1024
# Two measurements of one network differed by more than 3 % hardly ever, unless one of them was less certain than this.
_UNCERTAIN = 0.05


def uncertain(ratios: Mapping[str, Interval]) -> list[str]:
    """Return the names of the measurements worth taking again: their ratios are known to more than ±5 % only.

    Args:
        ratios: latency ratios by name.

    Returns:
        names, in the order given.
    """
    return [name for name, ratio in ratios.items() if ratio.relative_half_width > _UNCERTAIN]


def stability_warnings(ratio: Interval, blocks: Blocks, conditions: dict[str, Any]) -> tuple[str, ...]:
    """Return warnings about one paired measurement; empty where nothing is suspicious.

    Args:
        ratio: the latency ratio with its interval.
        blocks: the candidate's samples, ``(n_blocks, n_samples of the block)`` in ns.
        conditions: ``{"before": {...}, "during": [{...}], "after": {...}}`` as the agent reads them; what it could
            not read is None.
    """
    before, after = conditions.get("before") or {}, conditions.get("after") or {}
    found = (_wide(ratio), _slow_tail(blocks), _clocks(before, after), _memory(after), _throttled(conditions))
    return tuple(warning for warning in found if warning)


def timing_warnings(unsteady_warmups: int, warmups: int, missed_periods: int, frames: int) -> tuple[str, ...]:
    """Return warnings about the runs themselves.

    Args:
        unsteady_warmups: those that ended at their limit while the latency still drifted.
        warmups: how many there were.
        missed_periods: frames that came and went during a run; 0 in a tight loop.
        frames: runs that were timed.
    """
    found = (_drift(unsteady_warmups, warmups), _missed(missed_periods, frames))
    return tuple(warning for warning in found if warning)


def _drift(unsteady: int, warmups: int) -> str:
    if 2 * unsteady <= warmups:
        return ""
    return (
        f"the latency still drifted at the end of {unsteady} of {warmups} warm-ups: lock the clocks, cool the board,"
        " or close other programs"
    )


def _missed(missed: int, frames: int) -> str:
    if not missed:
        return ""
    share = missed / (missed + frames)
    return (
        f"{share:.1%} of the camera's frames came during a run and were missed: lower the rate, take a smaller model,"
        " or stop other work on the device"
    )


def _wide(ratio: Interval) -> str:
    half_width = ratio.relative_half_width
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


def _throttled(conditions: dict[str, Any]) -> str:
    """Flags and alerts say that it is so now; counters of events, that it was so if they have risen."""
    moments = [conditions.get("before"), *conditions.get("during", ()), conditions.get("after")]
    readings = [moment["throttle"] for moment in moments if moment and moment.get("throttle")]
    if not readings:
        return ""
    first = readings[0]
    found = {name for reading in readings for name, value in reading.items() if _is_throttling(name, value, first)}
    return f"the board throttled ({', '.join(sorted(found))}): cool it, or give it a stronger supply" if found else ""


def _is_throttling(name: str, value: int | None, first: Mapping[str, int | None]) -> bool:
    if name.endswith("_since_boot") or value is None:
        return False
    return value > (first.get(name) or 0) if name.endswith("_event_cnt") else value > 0
