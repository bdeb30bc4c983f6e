"""When there are enough samples."""

from __future__ import annotations

from collections.abc import Iterable

from scbp_host.domain.measurement import Interval, Stopped
from scbp_host.measuring.settings import MeasureSettings

# Who looks again and again, and stops where the interval happens to be narrow, stops where its deviation happens to be
# small. So nobody looks before there are so many loads: tests/bench/stopping.py.
LEAST_LOADS = 16
# What a width may cost where no budget is given.
DEFAULT_SECONDS = 60.0


def reason_to_stop(
    settings: MeasureSettings, ratios: Iterable[Interval], loads: int, elapsed_s: float, next_s: float
) -> Stopped | None:
    """Say whether to stop after a batch, and why; None is to go on.

    Args:
        settings: what was asked for.
        ratios: of all models, over everything that counts so far.
        loads: so far.
        elapsed_s: since the first batch began.
        next_s: what another batch will take.
    """
    if settings.ci_width is None and settings.max_seconds is None:
        return Stopped.FIXED
    if loads < LEAST_LOADS:
        return None
    if settings.ci_width is not None and all(own.relative_width < settings.ci_width for own in ratios):
        return Stopped.CI_WIDTH
    return None if has_time(settings, elapsed_s, next_s) else Stopped.BUDGET


def has_time(settings: MeasureSettings, elapsed_s: float, next_s: float) -> bool:
    """Tell whether another batch of ``next_s`` would end within the budget of seconds, if there is one."""
    if settings.ci_width is None and settings.max_seconds is None:
        return True
    return elapsed_s + next_s <= (DEFAULT_SECONDS if settings.max_seconds is None else settings.max_seconds)
