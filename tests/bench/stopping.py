"""Are intervals honest where somebody measures until they are narrow, and does a warm-up end when the model is warm?

By simulation: 2,000 made-up series for each kind of noise (tests/simulated_noise.py), stopped as a session stops,
beside intervals over a fixed number of loads and beside other intervals that were considered. Warm-ups are decays to a
steady level, under noise, judged by the agent's own drift test.

python tests/bench/stopping.py [--quick] --json docs/bench/stopping.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from simulated_noise import Noise, load_series, pair_ratios, stopped

from scbp_agent import timing
from scbp_host.domain.measurement import Interval
from scbp_host.measuring.paired import interval_of_loads
from scbp_host.measuring.settings import MeasureSettings

Array = NDArray[np.float64]

KINDS = {
    "typical": Noise(),
    "loads alone": Noise(hit=0.0, drift=0.0, bursts=0.0, steps=0.0),
    "blocks above all": Noise(load=0.002, block=0.03, hit=0.2),
    "violent": Noise(load=0.03, hit=0.2, hit_factor=3.0, bursts=0.1, steps=0.05, unlike=0.3),
    "quiet": Noise(load=0.005, block=0.003, hit=0.02),
}
FIXED = (8, 16, 40)
WIDTHS = (0.02, 0.04, 0.08)
MOST_LOADS = 136


def plain_t(logs: Array) -> Interval:
    """Return the mean with Student's t."""
    reach = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    return Interval(*np.exp(logs.mean() + np.array([0.0, -reach, reach])))


def bootstrap(logs: Array) -> Interval:
    """Return the mean with a percentile bootstrap over the loads."""
    random = np.random.default_rng(0)
    means = logs[random.integers(len(logs), size=(500, len(logs)))].mean(axis=1)
    return Interval(*np.exp([logs.mean(), *np.quantile(means, [0.025, 0.975])]))


def two_stages(pairs: Array) -> Interval:
    """Return the former interval: a percentile bootstrap over the loads and, within them, the pairs."""
    random, shape = np.random.default_rng(0), (500, *pairs.shape)
    loads = random.integers(len(pairs), size=shape[:2])
    drawn = pairs[loads[:, :, None], random.integers(pairs.shape[1], size=shape)]
    means = np.median(drawn, axis=2).mean(axis=1)
    return Interval(*np.exp([np.median(pairs, axis=1).mean(), *np.quantile(means, [0.025, 0.975])]))


def others(random: np.random.Generator, count: int) -> dict[str, Any]:
    """Judge ours and what else was considered, on typical noise; earlier releases took two stages over four loads."""
    found: dict[str, dict[str, Any]] = {}
    for loads in (4, 8, 16):
        pairs = [pair_ratios(random, loads, KINDS["typical"]) for _ in range(count)]
        logs = [np.median(own, axis=1) for own in pairs]
        found[str(loads)] = {
            "trimmed t (ours)": judged([interval_of_loads(own) for own in logs], [loads]),
            "plain t": judged([plain_t(own) for own in logs], [loads]),
            "bootstrap of loads": judged([bootstrap(own) for own in logs], [loads]),
            "bootstrap in two stages": judged([two_stages(own) for own in pairs], [loads]),
        }
    return found


def judged(ratios: list[Interval], loads: list[int]) -> dict[str, float]:
    """Return how often the intervals cover the truth, which is 1, and what they cost."""
    return {
        "coverage": round(float(np.mean([own.low <= 1.0 <= own.high for own in ratios])), 4),
        "median_width": round(float(np.median([own.relative_width for own in ratios])), 5),
        "median_loads": float(np.median(loads)),
    }


def intervals(series: list[Array]) -> dict[str, Any]:
    """Judge ours over fixed numbers of loads, and stopped at each width."""
    fixed = {str(count): judged([interval_of_loads(own[:count]) for own in series], [count]) for count in FIXED}
    stopping = []
    for width in WIDTHS:
        ends = [stopped(own, MeasureSettings(ci_width=width)) for own in series]
        found = judged([interval_of_loads(own[:end]) for own, end in zip(series, ends, strict=True)], ends)
        alike = [interval_of_loads(own[: int(found["median_loads"])]) for own in series]
        share = found["median_width"] / float(np.median([own.relative_width for own in alike]))
        stopping.append({"ci_width": width, **found, "width_to_fixed": round(share, 3)})
    return {"fixed": fixed, "stopping": stopping}


def warm_ups(count: int, random: np.random.Generator) -> list[dict[str, float]]:
    """Return, for each excess at the start and each spread, how much of it is left when the warm-up ends."""
    rows = []
    for excess in (0.0, 0.2, 1.0):
        for spread in (0.01, 0.05):
            left, runs = [], []
            for _ in range(count):
                rate = random.uniform(2.0, 20.0)
                level = 1e6 * (1.0 + excess * np.exp(-np.arange(500) / rate))
                samples = (level * random.lognormal(0.0, spread, 500)).astype(int).tolist()
                end = next((own for own in range(20, 500) if timing.is_steady(samples[:own])), 500)
                left.append(level[min(end, 499)] / 1e6 - 1.0)
                runs.append(end)
            rows.append(
                {
                    "excess": excess,
                    "spread": spread,
                    "median_runs": float(np.median(runs)),
                    "excess_left_median": round(float(np.median(left)), 4),
                    "excess_left_p95": round(float(np.quantile(left, 0.95)), 4),
                }
            )
    return rows


def main() -> None:
    """Simulate and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="100 series instead of 2,000")
    arguments = parser.parse_args()
    count = 100 if arguments.quick else 2000
    random = np.random.default_rng(0)
    result: dict[str, Any] = {"series": count}
    for name, noise in KINDS.items():
        result[name] = intervals([load_series(random, MOST_LOADS, noise) for _ in range(count)])
        print(name, json.dumps(result[name]), flush=True)
    result["others"] = others(random, count // 4)
    result["warm_ups"] = warm_ups(count // 10, random)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
