"""Why the figures of a measurement may be off, and which samples are not worth keeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scbp_agent import wire
from scbp_host.domain.measurement import Interval, Sampling, Stopped
from scbp_host.domain.verdict import Verdict, VerdictKind
from scbp_host.measuring.paired import Blocks, quantile_ns
from scbp_host.measuring.pooling import Pooled
from scbp_host.measuring.settings import MeasureSettings

# Two measurements of one model are meant to agree within this.
_RATIO_TOLERANCE = 0.03
# On a quiet machine the slowest runs take little more than the median.
_TAIL_FACTOR = 2.0
_CLOCK_DROP = 0.9
# A worker that is alone on a core waits for less than a hundredth of the time.
CONTENDED_SHARE = 0.1
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


def waited_share(loads: Iterable[wire.LoadRecord]) -> float:
    """Return for which share of the time the worker's threads were ready and something else had the processor.

    It is the larger one of two shares: of waiting in this machine's own queue, and of what a machine around it took.
    """
    loads = list(loads)
    duration_ns = sum(own.duration_ns for own in loads)
    lost_ns = (sum(own.waited_ns or 0 for own in loads), sum(own.stolen_ns or 0 for own in loads))
    return max(lost_ns) / duration_ns if duration_ns else 0.0


def is_spoilt(batch: wire.PairedResult) -> bool:
    """Tell whether a batch of loads is worth throwing away: the board throttled, or others had the processor."""
    return waited_share(batch.loads) > CONTENDED_SHARE or bool(_throttled(batch.conditions))


def judge(ratio: Interval, blocks: Blocks, pooled: Pooled, settings: MeasureSettings) -> tuple[Verdict, ...]:
    """Return the verdicts over one model's measurement; empty where nothing is suspicious.

    Args:
        ratio: its latency ratio with its interval.
        blocks: its samples, ``(n_blocks, n_samples of the block)`` in ns.
        pooled: the round it took part in. Its conditions are ``{"before": {...}, "during": [{...}], "after": {...}}``
            as the agent reads them; what it could not read is None.
        settings: what was asked for.
    """
    result, sampling = pooled.result, pooled.sampling
    conditions = result.conditions
    before, after = conditions.get("before") or {}, conditions.get("after") or {}
    frames = sum(len(block) for own in result.models for block in own.blocks_ns)
    found = (
        _too_few(ratio, sampling, settings),
        _wide(ratio, settings),
        _slow_tail(blocks),
        _contended(waited_share(result.loads)),
        _clocks(before, after),
        _memory(after),
        _alternating(sampling),
        _throttled(conditions),
        _drift(result.unsteady_warmups, sampling.loads * sampling.together),
        _missed(result.missed_periods or 0, frames),
    )
    return tuple(verdict for verdict in found if verdict is not None)


def _drift(unsteady: int, warmups: int) -> Verdict | None:
    if 2 * unsteady <= warmups:
        return None
    return Verdict(VerdictKind.DRIFT, f"the latency still drifted at the end of {unsteady} of {warmups} warm-ups")


def _missed(missed: int, frames: int) -> Verdict | None:
    if not missed:
        return None
    share = missed / (missed + frames)
    return Verdict(VerdictKind.FRAMES_MISSED, f"{share:.1%} of the camera's frames came during a run and were missed")


def _too_few(ratio: Interval, sampling: Sampling, settings: MeasureSettings) -> Verdict | None:
    asked = settings.ci_width
    if asked is None or sampling.stopped is not Stopped.BUDGET or ratio.relative_width < asked:
        return None
    return Verdict(
        VerdictKind.TOO_FEW_SAMPLES,
        f"the interval is {ratio.relative_width:.1%} wide after {sampling.loads} loads, where {asked:.1%} was asked for"
        f" and {sampling.seconds:.0f} seconds are spent",
    )


def _wide(ratio: Interval, settings: MeasureSettings) -> Verdict | None:
    half_width = ratio.relative_half_width
    if half_width <= _RATIO_TOLERANCE or (settings.ci_width is not None and 2 * half_width < settings.ci_width):
        return None
    return Verdict(VerdictKind.SPREAD_HIGH, f"the latency ratio is known to ±{half_width:.1%} only")


def _slow_tail(blocks: Blocks) -> Verdict | None:
    factor = quantile_ns(blocks, 0.99) / quantile_ns(blocks, 0.5)
    return Verdict(VerdictKind.CONTENDED, f"p99 is {factor:.1f} times p50") if factor > _TAIL_FACTOR else None


def _contended(share: float) -> Verdict | None:
    if share <= CONTENDED_SHARE:
        return None
    return Verdict(VerdictKind.CONTENDED, f"for {share:.0%} of the time something else had the processor")


def _alternating(sampling: Sampling) -> Verdict | None:
    if not sampling.alternating:
        return None
    return Verdict(
        VerdictKind.LOW_MEMORY, "the model and its reference did not fit beside each other, and alternated in workers"
    )


def _clocks(before: dict[str, Any], after: dict[str, Any]) -> Verdict | None:
    for name, title in (("power_mode", "power mode"), ("clock_policy", "clock policy")):
        if None not in (before.get(name), after.get(name)) and before[name] != after[name]:
            return Verdict(
                VerdictKind.CLOCKS_CHANGED, f"the {title} changed from {before[name]} to {after[name]} meanwhile"
            )
    start, end = _fastest_khz(before), _fastest_khz(after)
    if start is None or end is None or end >= start * _CLOCK_DROP:
        return None
    return Verdict(VerdictKind.CLOCKS_CHANGED, f"the processor slowed down from {start // 1000} to {end // 1000} MHz")


def _fastest_khz(conditions: dict[str, Any]) -> int | None:
    clocks = [khz for khz in (conditions.get("cpu_freq_khz") or {}).values() if khz is not None]
    return max(clocks, default=None)


def _memory(after: dict[str, Any]) -> Verdict | None:
    available = after.get("memory_available_bytes")
    if available is None or available >= _LOW_MEMORY_BYTES:
        return None
    return Verdict(VerdictKind.LOW_MEMORY, f"only {available // 2**20} MB of memory were left")


def _throttled(conditions: Mapping[str, Any]) -> Verdict | None:
    """Flags and alerts say that it is so now; counters of events, that it was so if they have risen."""
    moments = [conditions.get("before"), *conditions.get("during", ()), conditions.get("after")]
    readings = [moment["throttle"] for moment in moments if moment and moment.get("throttle")]
    if not readings:
        return None
    # Counters count since the board was started: what counts here is what they rose by since they were first read.
    first: dict[str, int] = {}
    for reading in readings:
        first.update({name: value for name, value in reading.items() if value is not None and name not in first})
    found = {name for reading in readings for name, value in reading.items() if _is_throttling(name, value, first)}
    return Verdict(VerdictKind.THROTTLED, f"the board throttled ({', '.join(sorted(found))})") if found else None


def _is_throttling(name: str, value: int | None, first: Mapping[str, int]) -> bool:
    if name.endswith("_since_boot") or value is None:
        return False
    return value > first[name] if name.endswith("_event_cnt") else value > 0
