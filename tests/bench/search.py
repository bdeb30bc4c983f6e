"""Hypervolume against trainings: the guided search beside the others, on a space of which everything is known.

python tests/bench/search.py --table tests/data/tabular/cpu1-fp32-64.json --json docs/bench/search.json
python tests/bench/search.py --synthetic 3 --json search.json --quick

A search sees one random seed's trainings and one measurement of each structure; it is judged by the means. Every
strategy begins with the same spread of measurements, if it measures ahead, and trains in batches of the same size. The
hypervolume is of everything trained so far, from the slowest latency and the lowest accuracy of the table, as a share
of what the whole space has. A search ends when it has 99 % of that and has trained a tenth of the space, or after
`--trainings`. Goes on where it was interrupted, and keeps what the file says of other tables.

Where a table has `refit_top1`, the guided search runs a second time as a run with a latency budget does, or one with
`--accuracy refit`: with accuracies guessed by what a sample, and then what may be trained, has before any training.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from search_tables import Table, parse_search, table_asked_for

from scbp_host.search.base import Observation, Proposal, Purpose, Strategy
from scbp_host.search.forecast import Forecast
from scbp_host.search.guided import GuidedSearch
from scbp_host.search.hypervolume import hypervolume
from scbp_host.search.known import Latest
from scbp_host.search.strategies import STRATEGIES
from scbp_host.stages.estimates import SHORTLIST_FACTORS
from scbp_host.stages.refitted import SAMPLE

ENOUGH = 0.99
# The aim: enough by so many of the structures.
TENTH = 0.1
Array = NDArray[np.float64]


class GuidedByRefit:
    """The guided search with accuracies guessed by refit, as ``stages/estimates.py`` has it.

    Args:
        table: with ``refit_top1``.
        random_seed: of the search.
    """

    def __init__(self, table: Table, random_seed: int) -> None:
        self._table, self._random_seed = table, random_seed
        self._seen: list[Observation] = []
        self._forecast = Latest[Forecast | None]()
        self._estimated = set(np.random.default_rng(random_seed).permutation(len(table.pool))[:SAMPLE].tolist())

    def observe(self, observations: Sequence[Observation]) -> None:
        """See :class:`~scbp_host.search.base.Strategy`."""
        self._seen += observations

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """See :class:`~scbp_host.search.base.Strategy`."""
        for factor in SHORTLIST_FACTORS if purpose is Purpose.TRAIN else ():
            looked_at = self._guided().propose(purpose, factor * count).candidates
            self._estimated |= {self._table.rows[own.structure_id] for own in looked_at}
        return self._guided().propose(purpose, count)

    def _guided(self) -> GuidedSearch:
        search = GuidedSearch(self._table.problem(self._random_seed, estimated=self._estimated), self._forecast)
        search.observe(self._seen)
        return search


def _by_name(name: str) -> Callable[[Table, int], Strategy]:
    return lambda table, random_seed: STRATEGIES[name](table.problem(random_seed))


BY_REFIT = "guided, by refit"
CONTESTANTS = {**{name: _by_name(name) for name in STRATEGIES}, BY_REFIT: GuidedByRefit}


def main() -> None:
    """Run every strategy from every random seed; write after each."""
    arguments = parse()
    table, settings = table_asked_for(arguments)
    curves, least = _earlier(arguments.json, settings), least_trainings(table)
    for name in arguments.strategies:
        if name == BY_REFIT and table.refit_top1 is None:
            print(f"{name}: the table has no refit_top1", flush=True)
            continue
        for random_seed in range(arguments.seeds):
            if str(random_seed) not in curves.setdefault(name, {}):
                started = time.monotonic()
                curve = search(CONTESTANTS[name], table, random_seed, settings)
                curves[name][str(random_seed)] = [round(share, 4) for share in curve]
                print(f"{name} {random_seed}: {curve[-1]:.4f} in {time.monotonic() - started:.1f} s", flush=True)
                _write(arguments.json, settings, curves, least)
        print(name, json.dumps(judge(list(curves[name].values()), _tenth(len(table.pool)))), flush=True)
    _write(arguments.json, settings, curves, least)
    print(markdown(_read(arguments.json)[settings["table"]]["results"]))
    print(f"who knows everything needs {least} trainings")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    return parse_search(parser, seeds=50, quick=5)


def search(make: Callable[[Table, int], Strategy], table: Table, random_seed: int, settings: dict[str, Any]) -> Array:
    """Return ``(n_trained,)``: after each training the share of the hypervolume that is found."""
    strategy = make(table, random_seed)
    ahead = strategy.propose(Purpose.MEASURE, settings["measured_first"]).candidates
    strategy.observe([table.measured(own, random_seed) for own in ahead])
    trained: list[int] = []
    while not _is_over(table, trained, settings["trainings"]):
        count = min(settings["batch"], settings["trainings"] - len(trained))
        ahead = strategy.propose(Purpose.MEASURE, settings["batch"] * 4).candidates if trained else ()
        strategy.observe([table.measured(own, random_seed) for own in ahead])
        batch = strategy.propose(Purpose.TRAIN, count).candidates
        if not batch:
            break
        strategy.observe([table.trained(own, random_seed) for own in batch])
        trained += [table.rows[own.structure_id] for own in batch]
    return shares(table, trained)


def shares(table: Table, trained: list[int]) -> Array:
    """Return ``(n_trained,)``: the hypervolume after each training, as a share of the whole space's."""
    points = table.true_points.T
    whole = float(hypervolume(points[0][None], points[1][None], table.nadir)[0])
    found = [points[:, trained[: own + 1], None].transpose(0, 2, 1) for own in range(len(trained))]
    return np.asarray([float(hypervolume(*own, table.nadir)[0]) / whole for own in found])


def least_trainings(table: Table) -> int:
    """Return how few find enough, for somebody who knows everything and takes whatever adds most."""
    trained: list[int] = []
    while not trained or shares(table, trained)[-1] < ENOUGH:
        gains = [-1.0 if row in trained else shares(table, [*trained, row])[-1] for row in range(len(table.pool))]
        trained.append(int(np.argmax(gains)))
    return len(trained)


def _is_over(table: Table, trained: list[int], most: int) -> bool:
    if len(trained) < _tenth(len(table.pool)):
        return len(trained) >= most
    return len(trained) >= most or shares(table, trained)[-1] >= ENOUGH


def _tenth(structures: int) -> int:
    return max(1, int(TENTH * structures))


def judge(curves: list[list[float]], tenth: int) -> dict[str, Any]:
    """Return medians and 5 % quantiles over random seeds, and how many trainings it took to find enough.

    Args:
        curves: for each random seed, the share found after each training; a search that ended keeps what it has.
        tenth: trainings of a tenth of the space.
    """
    longest = max(map(len, curves))
    found = np.asarray([own + own[-1:] * (longest - len(own)) for own in curves])
    reached = np.where((found >= ENOUGH).any(axis=1), np.argmax(found >= ENOUGH, axis=1) + 1.0, np.inf)
    median, slow = np.median(reached), np.quantile(reached, 0.95, method="higher")
    return {
        "random_seeds": len(found),
        "share_at_a_tenth": _quantiles(found[:, min(tenth, found.shape[1]) - 1]),
        "share_at_the_end": _quantiles(found[:, -1]),
        "trainings_to_99_percent": [None if np.isinf(own) else int(own) for own in (median, slow)],
    }


def _quantiles(found: Array) -> list[float]:
    return [round(float(np.quantile(found, own)), 4) for own in (0.5, 0.05)]


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """Return the results of one table as a table of docs/results.md, the best first."""
    lines = ["| strategy | random seeds | after a tenth | at the end | trainings to 99 % |", "|---|---|---|---|---|"]
    ranked = sorted(results.items(), key=lambda own: -own[1]["share_at_a_tenth"][0])
    for name, own in ranked:
        shares_found = (
            f"{median:.1%} ({low:.1%})" for median, low in (own["share_at_a_tenth"], own["share_at_the_end"])
        )
        median, slow = ("–" if each is None else str(each) for each in own["trainings_to_99_percent"])
        lines.append(f"| `{name}` | {own['random_seeds']} | {' | '.join(shares_found)} | {median} ({slow}) |")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known


def _earlier(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    known = _read(path).get(settings["table"], {})
    curves: dict[str, dict[str, list[float]]] = known["curves"] if known.get("settings") == settings else {}
    return curves


def _write(path: Path, settings: dict[str, Any], curves: dict[str, dict[str, list[float]]], least: int) -> None:
    tenth = _tenth(settings["structures"])
    judged = {name: judge(list(own.values()), tenth) for name, own in curves.items() if own}
    known = _read(path)
    known[settings["table"]] = {"settings": settings, "least_trainings": least, "results": judged, "curves": curves}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
