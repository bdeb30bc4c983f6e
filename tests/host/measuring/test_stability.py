"""Verdicts: nothing on a quiet board, and a remedy in each."""

from __future__ import annotations

from typing import Any

import pytest

from scbp_agent import wire
from scbp_host.domain.measurement import Interval, Sampling, Stopped
from scbp_host.domain.verdict import REMEDIES, Verdict, VerdictKind
from scbp_host.measuring.pooling import Pooled
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stability import is_spoilt, judge, uncertain, waited_share

QUIET = Interval(0.5, 0.495, 0.505)
STEADY = [[100, 101, 102]] * 10
FREE = wire.LoadRecord(10**9, 10**6, 0, 1)
BUSY = wire.LoadRecord(10**9, 3 * 10**8, None, 50)


def conditions(before_mhz: int | None = 1500, after_mhz: int | None = 1500, left_mb: int = 1000) -> dict[str, Any]:
    def at(mhz: int | None) -> dict[str, Any]:
        clocks = None if mhz is None else {"cpu0": mhz * 1000, "cpu1": None}
        return {"cpu_freq_khz": clocks, "memory_available_bytes": left_mb * 2**20}

    return {"before": at(before_mhz), "after": at(after_mhz)}


def judged(
    ratio: Interval = QUIET,
    blocks: list[list[int]] = STEADY,
    seen: dict[str, Any] | None = None,
    *,
    loads: tuple[wire.LoadRecord, ...] = (FREE, FREE),
    missed: int | None = None,
    unsteady: int = 0,
    sampling: Sampling | None = None,
    settings: MeasureSettings | None = None,
) -> tuple[Verdict, ...]:
    models = [wire.ModelSamples(own, []) for own in (STEADY, blocks)]
    seen = conditions() if seen is None else seen
    result = wire.PairedResult(models, list(loads), missed, unsteady, seen)
    pooled = Pooled(result, sampling or Sampling(len(loads)))
    return judge(ratio, blocks, pooled, settings or MeasureSettings())


def test_a_quiet_board_needs_no_verdict() -> None:
    assert judged() == ()


def test_what_the_board_cannot_read_is_no_verdict() -> None:
    unknown = wire.LoadRecord(10**9, None, None, 0)
    assert judged(seen=conditions(None, None)) == ()
    assert judged(seen={"before": None, "after": {"memory_available_bytes": None}}, loads=(unknown,)) == ()
    assert judged(seen={}) == ()


def test_a_processor_that_speeds_up_was_idle_before() -> None:
    assert judged(seen=conditions(600, 1500)) == ()


MODE = {"before": {"power_mode": "MAXN"}, "after": {"power_mode": "15W"}}
SPENT = {"sampling": Sampling(16, Stopped.BUDGET, 60.0), "settings": MeasureSettings(ci_width=0.01)}


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"ratio": Interval(0.5, 0.45, 0.55)}, "SPREAD_HIGH", ("±10.0%", "measure for longer")),
        ({"blocks": [[100, 100, 100, 900]] * 10}, "CONTENDED", ("9.0 times p50", "stop what else")),
        ({"loads": (FREE, BUSY)}, "CONTENDED", ("15% of the time", "fewer threads")),
        ({"seen": conditions(1500, 900)}, "CLOCKS_CHANGED", ("from 1500 to 900 MHz", "governor")),
        ({"seen": MODE}, "CLOCKS_CHANGED", ("power mode changed from MAXN to 15W", "lock the clocks")),
        ({"seen": conditions(left_mb=50)}, "LOW_MEMORY", ("only 50 MB", "stop other programs")),
        ({"sampling": Sampling(2, alternating=True)}, "LOW_MEMORY", ("did not fit beside each other",)),
        ({"unsteady": 3}, "DRIFT", ("3 of 4 warm-ups", "lock the clocks")),
        ({"missed": 20}, "FRAMES_MISSED", ("25.0% of the camera's frames", "lower the rate")),
        (SPENT, "TOO_FEW_SAMPLES", ("2.0% wide after 16 loads, where 1.0% was asked for", "60 seconds")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_verdict_says_what_and_what_to_do(arguments: dict[str, Any], kind: str, words: tuple[str, ...]) -> None:
    (verdict,) = judged(**arguments)
    assert verdict.kind is VerdictKind(kind)
    assert all(word in str(verdict) for word in words)


def test_a_spread_that_was_asked_for_is_not_too_much() -> None:
    wide = Interval(1.0, 0.96, 1.04)
    assert [own.kind for own in judged(wide)] == [VerdictKind.SPREAD_HIGH]
    assert judged(wide, settings=MeasureSettings(ci_width=0.1)) == ()


def test_every_verdict_has_a_remedy_and_survives_the_store() -> None:
    assert set(REMEDIES) == set(VerdictKind)
    assert all(REMEDIES[kind] for kind in VerdictKind if kind is not VerdictKind.UNSORTED)
    verdict = Verdict(VerdictKind.DRIFT, "it drifts")
    assert Verdict.from_json(verdict.to_json()) == verdict
    old = Verdict.from_json("a line of an earlier release: do this")
    assert (old.kind, str(old)) == (VerdictKind.UNSORTED, "a line of an earlier release: do this")


def test_what_a_hypervisor_takes_is_waiting_too() -> None:
    stolen = wire.LoadRecord(10**9, 0, 2 * 10**8, 0)
    assert waited_share([stolen, FREE]) == pytest.approx(0.1)
    assert waited_share([]) == 0.0


def batch(loads: list[wire.LoadRecord], seen: dict[str, Any] | None = None) -> wire.PairedResult:
    return wire.PairedResult([], loads, None, 0, seen or {})


def test_a_batch_is_spoilt_by_others_or_by_throttling() -> None:
    assert not is_spoilt(batch([FREE, FREE]))
    assert is_spoilt(batch([FREE, BUSY]))
    assert is_spoilt(batch([FREE], throttling({"throttled": 0}, {"throttled": 1}, {"throttled": 0})))


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
        (throttling({"oc3_event_cnt": None, "a": 0}, {"oc3_event_cnt": 37}, {"oc3_event_cnt": 37}), ""),
        (throttling({"oc3_event_cnt": None, "throttled_since_boot": 1}, {"throttled": 0, "under_voltage": None}), ""),
        (throttling(None, None), ""),
    ],
)
def test_a_board_that_throttled_is_warned_of_with_what_said_so(seen: dict[str, Any], names: str) -> None:
    verdicts = judged(seen=seen)
    assert [names in str(own) and own.kind is VerdictKind.THROTTLED for own in verdicts] == ([True] if names else [])


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
