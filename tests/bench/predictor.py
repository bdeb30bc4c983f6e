"""How well latency and memory are predicted from a few measurements, on unmeasured networks; needs a table alone.

python tests/bench/predictor.py [--quick] --table tests/data/tabular/cpu1-fp32-64.json --json docs/bench/predictor.json

A table is a JSON list of `{"ratios": [...], "latency_ratio": ..., "params": ..., "top1": ...}`, one row a network, such
as `tabular.py` makes; only ratios and latency must be there. Each method learns from 8, 16, 24 and 32 rows, drawn at
random 20 times, and predicts the others; `design` are the rows that a run would measure first. With `--source`, other
tables are what the warm start may begin with; the table itself is left out of them.

Learned from is the first measurement of the rows drawn. Where the table has more passes (`latency_ratio_again`),
errors are counted from the median of all, and `second_pass` says how well one of them predicts the other; whether
intervals cover is asked of the first alone, since they are intervals for a measurement.

`from_all_others` is what the model can come to at best on this table: from the medians of all other networks.

Where the table has `peak_rss_bytes`, `memory` says the same of peak memory: of the model that a run learns it by, and
of least squares.

MACs and params are least squares of first order. The per-layer sum is nn-Meter's idea (Zhang et al., MobiSys 2021): a
network's latency is the sum of its kernels', each learned on its own by a random forest, from profiles; where the table
has none, of a table over neighbours' widths that is fitted to whole networks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from latency_tables import Table, TableError
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import OneHotEncoder

from scbp_host.latency.additive import AdditiveModel
from scbp_host.latency.base import Prediction, relative_scatter
from scbp_host.latency.models import best_model
from scbp_host.latency.staircase import StaircaseModel
from scbp_host.latency.transfer import Source
from scbp_host.search.design import covering

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Row = dict[str, Any]
Results = list[Row]
COUNTS = (8, 16, 24, 32)
SPLITS = 20
WARM = "scbp, warm"
# Of a forest for each part: more change little, and take long.
TREES = 30
# Of all networks, of which each is predicted from the other folds'.
FOLDS = 16
# Of networks measured on another device, as many as a run would have measured there.
MEASURED_ELSEWHERE = 48


@dataclass(frozen=True)
class Guess:
    """What a method expects of the rows that it did not learn from; ``inside`` where it gives intervals."""

    mean: Array
    inside: Array | None = None


Method = Callable[[Table, Rows, Rows], Guess]


def by_model(make: Callable[[Table, Rows], Any]) -> Method:
    """Return a method from what makes a fitted model of some rows."""

    def guess(table: Table, known: Rows, unseen: Rows) -> Guess:
        return _compared(make(table, known).predict(table.widths[unseen]), table.latency[unseen])

    return guess


def as_in_a_run(shares_of: Callable[[Table], Array | None], others: Sequence[Table] = ()) -> Method:
    """Return what a run does: it learns from the fast runs, and expects medians.

    Args:
        shares_of: what it knows of where the time of a table's networks goes.
        others: what the warm start may begin with.
    """

    def guess(table: Table, known: Rows, unseen: Rows) -> Guess:
        shares, floor = shares_of(table), table.floor[known]
        features, sources = table.work(others), [_source(other) for other in others]
        own = None if shares is None else shares[known]
        model = best_model(table.widths[known], floor, features=features, sources=sources, shares=own)
        predicted = model.predict(table.widths[unseen]).scattered(relative_scatter(table.latency[known], floor))
        return _compared(predicted, table.latency[unseen])

    return guess


def _compared(predicted: Prediction, measured: Array) -> Guess:
    return Guess(predicted.mean, (predicted.low <= measured) & (measured <= predicted.high))


def by_cost(name: str) -> Method:
    """Return a method that knows one cost of each network; least squares of the relative error."""

    def guess(table: Table, known: Rows, unseen: Rows) -> Guess:
        column, weights = table.costs[name][:, None], table.latency[known] ** -2.0
        return Guess(
            LinearRegression().fit(column[known], table.latency[known], sample_weight=weights).predict(column[unseen])
        )

    return guess


def layer_sum(table: Table, known: Rows, unseen: Rows) -> Guess:
    """Add up what is expected of each superblock, from profiles where there are any."""
    before = np.concatenate([np.ones((len(table.widths), 1)), table.widths], axis=1)
    after = np.concatenate([table.widths, np.ones((len(table.widths), 1))], axis=1)
    if table.shares is None:
        named = [_pairs(*own) for own in zip(before.T, after.T, strict=True)]
        pairs = [OneHotEncoder(sparse_output=False).fit_transform(own) for own in named]
        terms, weights = np.concatenate(pairs, axis=1), table.latency[known] ** -2.0
        return Guess(Ridge(alpha=1e-3).fit(terms[known], table.latency[known], weights).predict(terms[unseen]))
    parts = table.shares[known] * table.latency[known, None]
    columns = [np.stack(own, axis=1) for own in zip(before.T, after.T, strict=True)]
    forests = [
        RandomForestRegressor(TREES, random_state=0).fit(column[known], own).predict(column[unseen])
        for column, own in zip(columns, parts.T, strict=True)
    ]
    return Guess(np.sum(forests, axis=0))


def _pairs(before: Array, after: Array) -> NDArray[np.str_]:
    return np.asarray([f"{one:.6f} {two:.6f}" for one, two in zip(before, after, strict=True)])[:, None]


def methods(table: Table, others: Sequence[Table]) -> dict[str, Method]:
    """Return everything that competes on a table."""
    found: dict[str, Method] = {
        "scbp": as_in_a_run(lambda own: own.shares),
        "staircase": by_model(lambda own, rows: StaircaseModel().fit(own.widths[rows], own.latency[rows])),
        "additive": by_model(lambda own, rows: AdditiveModel().fit(own.widths[rows], own.latency[rows])),
        "per-layer sum": layer_sum,
        **{name: by_cost(name) for name in table.costs},
    }
    if table.shares is not None:
        found["scbp, without profiles"] = as_in_a_run(lambda own: None)
    if others:
        found[WARM] = as_in_a_run(lambda own: own.shares, others)
    return found


def judge(table: Table, method: Method, count: int, splits: int, design: bool) -> dict[str, float]:
    """Return a method's figures, the mean over splits; of intervals where it gives any."""
    figures = [_figures(table, method, _drawn(table, count, own, design)) for own in range(splits)]
    return {name: round(float(np.mean([own[name] for own in figures])), 4) for name in figures[0]}


def _drawn(table: Table, count: int, random_seed: int, design: bool) -> Rows:
    if design:
        return np.asarray(covering(table.widths, count, random_seed))
    return np.random.default_rng(random_seed).permutation(len(table.latency))[:count]


def _figures(table: Table, method: Method, known: Rows) -> dict[str, float]:
    unseen = np.setdiff1d(np.arange(len(table.latency)), known)
    guess = method(table, known, unseen)
    found = agreement(guess.mean, table.truth[unseen])
    return found if guess.inside is None else {**found, "coverage": float(np.mean(guess.inside))}


def agreement(predicted: Array, truth: Array) -> dict[str, float]:
    """Return how near, and how well ordered."""
    errors = np.abs(predicted / truth - 1.0)
    within = {f"within_{limit}_percent": float(np.mean(errors <= limit / 100)) for limit in (5, 10)}
    return {**within, "kendall_tau": float(stats.kendalltau(predicted, truth).statistic)}


def from_all_others(table: Table) -> dict[str, float]:
    """Return how well each network is predicted from what all the others take, fold by fold."""
    predicted, every = np.empty(len(table.truth)), np.arange(len(table.truth))
    folds = min(FOLDS, len(every))
    for fold in range(folds):
        unseen = every[fold::folds]
        known = np.setdiff1d(every, unseen)
        model = StaircaseModel(table.work()).fit(table.widths[known], table.truth[known])
        predicted[unseen] = model.predict(table.widths[unseen]).mean
    return agreement(predicted, table.truth)


def of_memory(table: Table) -> tuple[Table, dict[str, Method]] | None:
    """Return the table with peak memory in the place of latency, and what competes; None where it has none."""
    if table.peak_mb is None:
        return None
    peaks = replace(table, latency=table.peak_mb, truth=table.peak_mb, floor=table.peak_mb, again=None, shares=None)
    learned = by_model(lambda own, rows: best_model(own.widths[rows], own.latency[rows]))
    return peaks, {"scbp": learned, **{name: by_cost(name) for name in table.costs}}


def judged(
    table: Table, competing: Mapping[str, Method], counts: Sequence[int], splits: int, known: Results
) -> Iterator[Row]:
    """Yield every method's figures at every count that are not known, from random rows and from the design's."""
    done = {(own["measured"], own["method"], own["rows"]) for own in known}
    for count in counts:
        for name, method in competing.items():
            for drawn in ("design", "random"):
                if (count, name, drawn) not in done:
                    own = {"measured": count, "method": name, "rows": drawn}
                    yield {**own, **judge(table, method, count, splits, drawn == "design")}


def main() -> None:
    """Judge every method on the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="the networks to predict")
    parser.add_argument(
        "--source", type=Path, nargs="*", default=[], help="tables of other devices, for the warm start"
    )
    parser.add_argument("--json", type=Path, required=True, help="where to write the result, under the table's name")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS, help="measurements to learn from")
    parser.add_argument("--quick", action="store_true", help="two splits at the two smallest counts")
    arguments = parser.parse_args()
    try:
        table = Table.read(arguments.table)
        others = [Table.read(path) for path in arguments.source if path != arguments.table]
    except TableError as error:
        sys.exit(str(error))
    counts, splits = (COUNTS[:2], 2) if arguments.quick else (arguments.counts, SPLITS)
    counts = [count for count in counts if count < len(table.latency)]
    settings = {
        "networks": len(table.latency),
        "profiles": table.shares is not None,
        "splits": splits,
        "second_pass": None if table.again is None else agreement(table.latency, table.again),
    }
    everything = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
    earlier = everything.get(table.name, {})
    is_same = all(earlier.get(name) == value for name, value in settings.items())
    found: Results = list(earlier["results"]) if is_same else []
    names = [own.name for own in others]
    if names and earlier.get("sources") != names:
        found = [own for own in found if own["method"] != WARM]
    memory: Results = list(earlier.get("memory", [])) if is_same else []
    kept = {
        "noise": table.noise,
        "from_all_others": (is_same and earlier.get("from_all_others")) or from_all_others(table),
        "sources": names or earlier.get("sources", []),
    }
    everything[table.name] = {**settings, **kept, "results": found, "memory": memory}
    contests = [(table, methods(table, others), found), *((*own, memory) for own in [of_memory(table)] if own)]
    for judged_table, competing, results in contests:
        for row in judged(judged_table, competing, counts, splits, results):
            results.append(row)
            print(json.dumps(row), flush=True)
            _write(arguments.json, everything)
    _write(arguments.json, everything)


def _write(path: Path, found: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _source(table: Table) -> Source:
    rows = covering(table.widths, MEASURED_ELSEWHERE, 0)
    return Source(table.name, table.widths[rows], table.latency[rows])


if __name__ == "__main__":
    main()
