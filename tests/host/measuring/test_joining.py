"""Two measurements of one model as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scbp_host.domain.measurement import Interval, Measurement, Sampling, Stopped
from scbp_host.domain.verdict import Verdict, VerdictKind
from scbp_host.measuring.joining import joined
from scbp_host.measuring.paired import latency_ratio, ratio_over_builds
from scbp_host.measuring.settings import MeasureSettings

SETTINGS = MeasureSettings()
CONTENDED = Verdict(VerdictKind.CONTENDED, "p99 is 3.0 times p50")
WIDE = Verdict(VerdictKind.SPREAD_HIGH, "the latency ratio is known to ±9.0% only")


def measured(*levels: int, verdicts: tuple[Verdict, ...] = ()) -> Measurement:
    """One block of each model after each load."""
    candidate, reference = tuple((own, own) for own in levels), ((1000, 1000),) * len(levels)
    ratio = latency_ratio(candidate, reference, loads=len(levels))
    sampling = Sampling(len(levels), Stopped.FIXED, 2.0, discarded=1)
    return Measurement(ratio, candidate, reference, 9, 5, 7, {}, verdicts, (1,), (2,), sampling=sampling)


def test_all_loads_count() -> None:
    earlier, again = measured(500, 600, 510, 590), measured(540, 550, 560, 550)
    whole = joined(earlier, again, SETTINGS)
    assert whole.candidate_blocks_ns == earlier.candidate_blocks_ns + again.candidate_blocks_ns
    assert whole.ratio == latency_ratio(whole.candidate_blocks_ns, whole.reference_blocks_ns, loads=8)
    assert whole.sampling == Sampling(8, Stopped.FIXED, 4.0, discarded=2)
    assert (whole.candidate_warmup_ns, whole.peak_rss_bytes) == ((1, 1), 9)


def test_doubts_stay_but_those_about_the_spread_which_is_another_now() -> None:
    earlier, again = measured(500, 600, 510, 590, verdicts=(CONTENDED, WIDE)), measured(*[550] * 16)
    assert [own.kind for own in joined(earlier, again, SETTINGS).verdicts] == [VerdictKind.CONTENDED]
    (spread,) = joined(earlier, measured(500, 600, 510, 590), SETTINGS).verdicts[1:]
    assert spread.kind is VerdictKind.SPREAD_HIGH
    assert spread != WIDE


def test_the_other_builds_keep_their_ratios() -> None:
    others = (Interval(0.6, 0.59, 0.61), Interval(0.5, 0.49, 0.51))
    first = measured(500, 600, 510, 590)
    earlier = replace(first, ratio=ratio_over_builds((first.ratio, *others)), builds=(first.ratio, *others))
    whole = joined(earlier, measured(540, 550, 560, 550), SETTINGS)
    assert whole.builds[1:] == others
    assert whole.ratio == ratio_over_builds(whole.builds)
    assert whole.ratio.relative_width > 0.2


def test_what_an_earlier_release_measured_is_replaced() -> None:
    again = measured(540, 550, 560, 550)
    assert joined(replace(again, sampling=None), again, SETTINGS) is again
    assert again.ratio.value == pytest.approx(0.55, rel=0.01)
