"""Hypervolume against trainings: the guided search beside the others, on a space of which everything is known.

python tests/bench/search.py --table docs/bench/tabular_table.json --json docs/bench/search.json
python tests/bench/search.py --synthetic 3 --json search.json --quick

A search sees one random seed's trainings and one measurement of each structure; it is judged by the means. Every
strategy begins with the same spread of measurements, if it measures ahead, and trains in batches of the same size. The
hypervolume is of everything trained so far, from the slowest latency and the lowest accuracy of the table, as a share
of what the whole space has. Goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from search_tables import Table, synthetic

from scbp_host.search.base import Problem, Purpose, Strategy
from scbp_host.search.hypervolume import hypervolume
from scbp_host.search.strategies import STRATEGIES

ENOUGH = 0.99
Array = NDArray[np.float64]


def main() -> None:
    """Run every strategy from every random seed; write after each."""
    arguments = parse()
    table = (
        Table(synthetic(random_seed=arguments.synthetic)) if arguments.table is None else Table.read(arguments.table)
    )
    trainings = arguments.trainings or max(1, len(table.pool) // 10)
    settings = {
        "table": f"synthetic {arguments.synthetic}" if arguments.table is None else arguments.table.name,
        "structures": len(table.pool),
        "trainings": trainings,
        "batch": arguments.batch,
        "measured_first": arguments.measure,
    }
    curves = _earlier(arguments.json, settings)
    for name in arguments.strategies:
        for random_seed in range(arguments.seeds):
            if str(random_seed) not in curves.setdefault(name, {}):
                started = time.monotonic()
                curve = search(STRATEGIES[name], table, random_seed, settings)
                curves[name][str(random_seed)] = [round(share, 5) for share in curve]
                print(f"{name} {random_seed}: {curve[-1]:.4f} in {time.monotonic() - started:.1f} s", flush=True)
                _write(arguments.json, settings, curves)
        print(name, json.dumps(judge(list(curves[name].values()))), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="a JSON list of {ratios, latency_ratio, params, top1}")
    parser.add_argument("--synthetic", type=int, default=0, help="which made-up table, where there is none")
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=50, help="random seeds")
    parser.add_argument("--trainings", type=int, help="by default a tenth of the space")
    parser.add_argument("--batch", type=int, default=2, help="trained between two proposals")
    parser.add_argument("--measure", type=int, default=32, help="measured before anything is trained")
    parser.add_argument("--quick", action="store_true", help="five random seeds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds = 5
    return arguments


def search(make: Callable[[Problem], Strategy], table: Table, random_seed: int, settings: dict[str, Any]) -> Array:
    """Return ``(trainings,)``: after each training the share of the hypervolume that is found."""
    strategy = make(table.problem(random_seed))
    ahead = strategy.propose(Purpose.MEASURE, settings["measured_first"]).candidates
    strategy.observe([table.measured(own, random_seed) for own in ahead])
    trained: list[int] = []
    while len(trained) < settings["trainings"]:
        count = min(settings["batch"], settings["trainings"] - len(trained))
        ahead = strategy.propose(Purpose.MEASURE, settings["batch"] * 4).candidates if trained else ()
        strategy.observe([table.measured(own, random_seed) for own in ahead])
        batch = strategy.propose(Purpose.TRAIN, count).candidates
        if not batch:
            break
        strategy.observe([table.trained(own, random_seed) for own in batch])
        trained += [table.rows[own.structure_id] for own in batch]
    found = shares(table, trained)
    # A search that ended keeps what it has.
    return np.concatenate([found, np.full(settings["trainings"] - len(found), found[-1] if len(found) else 0.0)])


def shares(table: Table, trained: list[int]) -> Array:
    """Return ``(n_trained,)``: the hypervolume after each training, as a share of the whole space's."""
    points = table.true_points.T
    whole = float(hypervolume(points[0][None], points[1][None], table.nadir)[0])
    found = [points[:, trained[: own + 1], None].transpose(0, 2, 1) for own in range(len(trained))]
    return np.asarray([float(hypervolume(*own, table.nadir)[0]) / whole for own in found])


def judge(curves: list[list[float]]) -> dict[str, Any]:
    """Return medians and 5 % quantiles over random seeds, and how many trainings it took to find enough."""
    found = np.asarray(curves)
    reached = np.where((found >= ENOUGH).any(axis=1), np.argmax(found >= ENOUGH, axis=1) + 1.0, np.inf)
    median, slow = np.median(reached), np.quantile(reached, 0.95, method="higher")
    return {
        "share_at_the_end": [round(float(np.quantile(found[:, -1], own)), 4) for own in (0.5, 0.05)],
        "share_at_half": [round(float(np.quantile(found[:, found.shape[1] // 2 - 1], own)), 4) for own in (0.5, 0.05)],
        "trainings_to_99_percent": [None if np.isinf(own) else int(own) for own in (median, slow)],
    }


def _earlier(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    if not path.exists():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))
    return known["curves"] if known["settings"] == settings else {}


def _write(path: Path, settings: dict[str, Any], curves: dict[str, dict[str, list[float]]]) -> None:
    judged = {name: judge(list(own.values())) for name, own in curves.items() if own}
    result = {"settings": settings, "results": judged, "curves": curves}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
