"""Looking again and again, and stopping where the interval is narrow, leaves it honest: by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_noise import Noise, load_series, stopped

from scbp_host.measuring.paired import interval_of_loads
from scbp_host.measuring.settings import MeasureSettings

SERIES = 2000


@pytest.mark.parametrize("noise", [Noise(), Noise(hit=0.0, drift=0.0, bursts=0.0, steps=0.0)], ids=["all", "loads"])
def test_the_interval_covers_the_truth_however_it_was_stopped(noise: Noise) -> None:
    random, settings = np.random.default_rng(0), MeasureSettings(ci_width=0.03)
    series = [load_series(random, 64, noise, truth=0.7) for _ in range(SERIES)]
    ends = [stopped(own, settings) for own in series]
    assert len(set(ends)) > 3, "the rule must have had something to decide"
    ratios = [interval_of_loads(own[:end]) for own, end in zip(series, ends, strict=True)]
    covered = np.mean([own.low <= 0.7 <= own.high for own in ratios])
    assert covered >= 0.93, covered
    fixed = [interval_of_loads(own[: int(np.median(ends))]).relative_width for own in series]
    assert np.median([own.relative_width for own in ratios]) <= 1.5 * np.median(fixed)


def test_four_loads_cover_as_well_as_forty() -> None:
    random = np.random.default_rng(1)
    series = [load_series(random, 40, Noise()) for _ in range(SERIES // 2)]
    for loads in (2, 4, 8, 40):
        ratios = [interval_of_loads(own[:loads]) for own in series]
        covered = np.mean([own.low <= 1.0 <= own.high for own in ratios])
        assert 0.93 <= covered <= 0.985, (loads, covered)
