"""Numbers as people read them. None, which means unmeasured, is always a dash and never a zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNMEASURED = "–"
MINUS = "−"


def _or_dash(show: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: UNMEASURED if value is None else show(value)


def three_digits(value: float) -> str:
    """Three significant digits without an exponent: 0.512, 23.9, 1,210."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{decimals}f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{three_digits(value / size)} {unit}"
    return f"{value:.0f} bytes"


def _count(value: float) -> str:
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            return three_digits(value / size) + unit
    return f"{value:.0f}"


ms = _or_dash(lambda value: f"{three_digits(value)} ms")
megabytes = _or_dash(lambda value: f"{three_digits(value)} MB")
millijoules = _or_dash(lambda value: f"{three_digits(value)} mJ")
size_bytes = _or_dash(_bytes)
count = _or_dash(_count)
percent = _or_dash(lambda fraction: f"{100 * fraction:.1f} %")
chance = _or_dash(lambda fraction: f"{100 * fraction:.0f} %")
ratio = _or_dash(lambda value: f"{value:.3f}×")
duration = _or_dash(_duration)
drop = _or_dash(lambda fraction: f"{100 * fraction:.1f} points")


def interval(bounds: Sequence[float] | None) -> str:
    """The bounds of an interval of ratios: 0.428–0.439."""
    return UNMEASURED if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"


def change(value: float | None, reference: float | None) -> str:
    """The relative change from ``reference``: −82 %."""
    if value is None or not reference:
        return ""
    points = round(100 * (value / reference - 1))
    return f"{_sign(points)}{abs(points)} %"


def points(value: float | None, reference: float | None) -> str:
    """The difference of two fractions in percentage points: −0.4 points."""
    if value is None or reference is None:
        return ""
    difference = round(100 * (value - reference), 1)
    return f"{_sign(difference)}{abs(difference):.1f} points"


def _sign(value: float) -> str:
    return MINUS if value < 0 else "+" if value > 0 else "±"


def emulated_ms(value: float | None) -> str:
    """A time of an emulator's, which must not pass for a board's: 12.3 ms emulated."""
    return UNMEASURED if value is None else f"{ms(value)} emulated"


FILTERS: dict[str, Callable[..., str]] = {
    "ms": ms,
    # A limit is nobody's measurement.
    "limit_ms": ms,
    "megabytes": megabytes,
    "millijoules": millijoules,
    "size_bytes": size_bytes,
    "count": count,
    "percent": percent,
    "chance": chance,
    "ratio": ratio,
    "duration": duration,
    "drop": drop,
    "interval": interval,
}
