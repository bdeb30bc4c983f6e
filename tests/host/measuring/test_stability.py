"""Stability warnings: nothing on a quiet board, and a remedy in each."""

from __future__ import annotations

from typing import Any

import pytest

from scbp_host.domain.measurement import Interval
from scbp_host.measuring.stability import stability_warnings, uncertain

QUIET = Interval(0.5, 0.495, 0.505)
STEADY = [[100, 101, 102]] * 10


def conditions(before_mhz: int | None = 1500, after_mhz: int | None = 1500, left_mb: int = 1000) -> dict[str, Any]:
    def at(mhz: int | None) -> dict[str, Any]:
        clocks = None if mhz is None else {"cpu0": mhz * 1000, "cpu1": None}
        return {"cpu_freq_khz": clocks, "memory_available_bytes": left_mb * 2**20}

    return {"before": at(before_mhz), "after": at(after_mhz)}


def test_a_quiet_board_needs_no_warning() -> None:
    assert stability_warnings(QUIET, STEADY, conditions()) == ()


def test_what_the_board_cannot_read_is_no_warning() -> None:
    assert stability_warnings(QUIET, STEADY, conditions(None, None)) == ()
    assert stability_warnings(QUIET, STEADY, {"before": None, "after": {"memory_available_bytes": None}}) == ()
    assert stability_warnings(QUIET, STEADY, {}) == ()


def test_a_processor_that_speeds_up_was_idle_before() -> None:
    assert stability_warnings(QUIET, STEADY, conditions(600, 1500)) == ()


@pytest.mark.parametrize(
    ("ratio", "blocks", "seen", "words"),
    [
        (Interval(0.5, 0.45, 0.55), STEADY, conditions(), ("±10.0%", "measure more blocks")),
        (QUIET, [[100, 100, 100, 900]] * 10, conditions(), ("9.0 times p50", "stop it")),
        (QUIET, STEADY, conditions(1500, 900), ("from 1500 to 900 MHz", "cool it")),
        (QUIET, STEADY, conditions(left_mb=50), ("only 50 MB", "stop other programs")),
    ],
    ids=["interval", "tail", "clock", "memory"],
)
def test_each_warning_says_what_and_what_to_do(
    ratio: Interval, blocks: list[list[int]], seen: dict[str, Any], words: tuple[str, ...]
) -> None:
    (warning,) = stability_warnings(ratio, blocks, seen)
    assert all(word in warning for word in words)


def throttling(*moments: dict[str, int | None] | None) -> dict[str, Any]:
    first, *between, last = [{"throttle": own} for own in moments]
    return {"before": first, "during": between, "after": last}


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (throttling({"throttled": 0}, {"throttled": 1}, {"throttled": 0}), "(throttled)"),
        (throttling({"cpu-throttle-alert": 1, "under_voltage": 1}, None), "(cpu-throttle-alert, under_voltage)"),
        (throttling({"oc3_event_cnt": 37}, {"oc3_event_cnt": 38}), "(oc3_event_cnt)"),
        (throttling(None, {"oc3_event_cnt": 37}, {"oc3_event_cnt": 37}), ""),
        (throttling({"oc3_event_cnt": None, "throttled_since_boot": 1}, {"throttled": 0, "under_voltage": None}), ""),
        (throttling(None, None), ""),
    ],
)
def test_a_board_that_throttled_is_warned_of_with_what_said_so(seen: dict[str, Any], names: str) -> None:
    warnings = stability_warnings(QUIET, STEADY, seen)
    assert [names in warning for warning in warnings] == ([True] if names else [])


def test_uncertain_is_what_is_known_to_more_than_five_percent_of_itself():
    ratios = {
        "sure": Interval(0.1, 0.0955, 0.1045),
        "unsure": Interval(0.1, 0.0945, 0.1055),
        "lopsided": Interval(2.0, 1.98, 2.25),
        # An absolute bound would take this one for unsure.
        "large": Interval(20.0, 19.1, 20.9),
    }
    assert uncertain(ratios) == ["unsure", "lopsided"]
    assert uncertain({}) == []
