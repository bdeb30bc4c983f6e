"""Does it pay to measure before training? Trainings and seconds until the same front is found, with and without.

python tests/bench/measure_first.py [--quick] --table TABLE.json --seconds-of TABULAR.json --json RESULT.json
python tests/bench/measure_first.py [--quick] --synthetic 3 --measure-s 1.5 --train-s 20 --json measure_first.json

On a space of which everything is known (`search.py` says what a table is), the guided search goes on until it has found
a share of the whole space's hypervolume, in two ways. `ahead` is as a run does it: a spread is measured first, before
each later round what may be trained in it, for a fifth of the round's trainings' time, and whatever is to be trained.
`after` measures only what it has trained. A training costs `--train-s`, a measurement `--measure-s`; where a summary of
`tabular.py` has what they took, `--seconds-of` reads it. Each random seed is searched in both ways.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from search import shares
from search_tables import Table, parse_search, table_asked_for

from scbp_host.domain.candidate import Candidate
from scbp_host.search.base import Purpose
from scbp_host.search.guided import GuidedSearch
from scbp_host.stages.proposals import MEASURE_SHARE

SHARES = (0.95, 0.99)
RESAMPLES = 2000
Array = NDArray[np.float64]
# Trained first where nothing is measured ahead: a spread, since nothing is known.
FIRST = 4


@dataclass(frozen=True)
class Costs:
    """Seconds of one measurement and of one training, and how many are proposed at a time."""

    measure_s: float
    train_s: float
    spread: int
    batch: int
    trainings: int

    @property
    def ahead(self) -> int:
        """Measurements before a round that take their share of its trainings' time."""
        return min(self.spread, int(MEASURE_SHARE * self.batch * self.train_s / self.measure_s))


class Searcher:
    """One search, and what it has cost.

    Args:
        table: the space.
        random_seed: of the search, and which of the table's measurements and trainings it sees.
        costs: of both.
    """

    def __init__(self, table: Table, random_seed: int, costs: Costs) -> None:
        self._table, self._random_seed, self._costs = table, random_seed, costs
        self._search = GuidedSearch(table.problem(random_seed))
        self._measured: set[Candidate] = set()
        self.trained: list[int] = []
        self.spent_s: list[float] = []
        self._seconds, self._ended = 0.0, False

    def ahead(self) -> None:
        """Search as a run does."""
        self._measure(self._search.propose(Purpose.MEASURE, self._costs.spread).candidates)
        while self._goes_on():
            if self.trained:
                self._measure(self._search.propose(Purpose.MEASURE, self._costs.ahead).candidates)
            batch = self._search.propose(Purpose.TRAIN, self._costs.batch).candidates
            self._measure([own for own in batch if own not in self._measured])
            self._train(batch)

    def after(self) -> None:
        """Search by what was trained alone."""
        self._train(self._search.propose(Purpose.MEASURE, FIRST).candidates)
        while self._goes_on():
            self._train(self._search.propose(Purpose.TRAIN, self._costs.batch).candidates)

    def _goes_on(self) -> bool:
        found = shares(self._table, self.trained)
        enough = len(found) > 0 and found[-1] >= max(SHARES)
        return not self._ended and not enough and len(self.trained) < self._costs.trainings

    def _measure(self, candidates: Sequence[Candidate]) -> None:
        self._seconds += self._costs.measure_s * len(candidates)
        self._measured.update(candidates)
        self._search.observe([self._table.measured(own, self._random_seed) for own in candidates])

    def _train(self, batch: Sequence[Candidate]) -> None:
        self._ended = not batch
        for own in batch:
            # Measured untrained or not, it is measured with its weights.
            self._seconds += self._costs.train_s + self._costs.measure_s
            self._search.observe([self._table.trained(own, self._random_seed)])
            self.trained.append(self._table.rows[own.structure_id])
            self.spent_s.append(self._seconds)


WAYS: dict[str, Callable[[Searcher], None]] = {"ahead": Searcher.ahead, "after": Searcher.after}


def until(table: Table, random_seed: int, costs: Costs) -> dict[str, dict[str, list[float | None]]]:
    """Return for each way the trainings and the seconds until each share was found; None where it was not."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for name, search in WAYS.items():
        own = Searcher(table, random_seed, costs)
        search(own)
        reached = shares(table, own.trained)
        rows = [int(np.argmax(reached >= share)) if (reached >= share).any() else None for share in SHARES]
        found[name] = {
            "trainings": [None if row is None else row + 1 for row in rows],
            "seconds": [None if row is None else own.spent_s[row] for row in rows],
        }
    return found


def judge(runs: Sequence[dict[str, dict[str, list[float | None]]]]) -> dict[str, Any]:
    """Return by share what each way took at the median, and how many times as much `after` took as `ahead`."""
    judged: dict[str, Any] = {}
    for row, share in enumerate(SHARES):
        judged[f"{share:.0%}"] = {
            figure: _compare(*([own[way][figure][row] for own in runs] for way in WAYS))
            for figure in ("trainings", "seconds")
        }
    return judged


def _compare(ahead: Sequence[float | None], after: Sequence[float | None]) -> dict[str, Any]:
    first, second = (np.asarray([np.inf if own is None else own for own in way]) for way in (ahead, after))
    both = np.isfinite(first) & np.isfinite(second)
    result: dict[str, Any] = {name: _quantiles(own) for name, own in zip(WAYS, (first, second), strict=True)}
    result["both_reached"] = f"{both.sum()} of {len(both)}"
    if both.any():
        logs = np.log(second[both] / first[both])
        drawn = np.random.default_rng(0).choice(logs, (RESAMPLES, len(logs))).mean(axis=1)
        ends = np.exp([logs.mean(), *np.quantile(drawn, (0.025, 0.975))])
        # Paired by random seed: the geometric mean, and its 95 % interval by the bootstrap.
        result["after_over_ahead"] = [round(float(own), 3) for own in ends]
    return result


def _quantiles(values: Array) -> list[float | None]:
    """Return median and 95 % quantile; None where it was not reached that often."""
    found = [float(np.quantile(values, own, method="higher")) for own in (0.5, 0.95)]
    return [round(own, 1) if np.isfinite(own) else None for own in found]


def markdown(known: dict[str, Any]) -> str:
    """Return everything known as a table of docs/results.md: medians, and how many times as much with its interval."""
    lines = ["| table | share | figure | ahead | after | after / ahead |", "|---|---|---|---|---|---|"]
    for name, own in known.items():
        for share, figures in own["results"].items():
            for figure, found in figures.items():
                ahead, after = ("–" if found[way][0] is None else f"{found[way][0]:.0f}" for way in WAYS)
                ratio, low, high = found.get("after_over_ahead", [float("nan")] * 3)
                lines.append(
                    f"| {name} | {share} | {figure} | {ahead} | {after} | {ratio:.2f} ({low:.2f} to {high:.2f}) |"
                )
    return "\n".join(lines)


def main() -> None:
    """Search every random seed in both ways; write after each."""
    arguments = parse()
    table, settings = table_asked_for(arguments)
    measure_s, train_s = costs_of(arguments)
    costs = Costs(measure_s, train_s, settings["measured_first"], settings["batch"], settings["trainings"])
    settings |= {"measure_s": measure_s, "train_s": train_s}
    known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
    name = f"{settings['table']}, {costs.train_s:g} s a training"
    earlier = known.get(name, {})
    runs = earlier["runs"] if earlier.get("settings") == settings else []
    for random_seed in range(len(runs), arguments.seeds):
        runs.append(until(table, random_seed, costs))
        known[name] = {"settings": settings, "results": judge(runs), "runs": runs}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(known) + "\n", encoding="utf-8")
        print(random_seed, json.dumps(runs[-1]), flush=True)
    print(markdown(known))


def costs_of(arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of a measurement and of a training."""
    if arguments.seconds_of is None:
        return arguments.measure_s, arguments.train_s
    summary = json.loads(arguments.seconds_of.read_text(encoding="utf-8"))
    seconds = summary[arguments.table.stem]["seconds"]
    return round(seconds["measure"], 2), round(seconds["train"], 2)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds-of", type=Path, help="tabular.py's summary, with the seconds that the table took")
    parser.add_argument("--measure-s", type=float, default=1.5, help="seconds of a measurement, where no table says")
    parser.add_argument("--train-s", type=float, default=20.0, help="seconds of a training")
    return parse_search(parser, seeds=20, quick=3)


if __name__ == "__main__":
    main()
