"""How well latency is predicted from a few measurements, on networks that were not measured; needs a table alone.

python tests/bench/predictor.py [--quick] --table tests/data/tabular/cpu1-fp32-64.json --json docs/bench/predictor.json

A table is a JSON list of `{"ratios": [...], "latency_ratio": ..., "params": ..., "macs": ...}`, one row a network, such
as `tabular.py` makes. Each method learns from 8, 16, 24 and 32 rows, drawn at random 20 times, and predicts the others;
`design` are the rows that a run would measure first. Where the table has a second pass (`latency_ratio_again`), it is
predicted from the first as well: what no predictor can be better than. With `--source`, other tables are what the warm
start may begin with.

MACs and params are least squares of first order. The per-layer sum is nn-Meter's idea (Zhang et al., MobiSys 2021): a
network's latency is the sum of its kernels', each learned on its own; here, of a table over neighbours' widths that is
fitted to whole networks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import OneHotEncoder

from scbp_host.latency.additive import AdditiveModel
from scbp_host.latency.base import Features
from scbp_host.latency.models import best_model
from scbp_host.latency.staircase import StaircaseModel
from scbp_host.latency.transfer import Source, WarmModel
from scbp_host.search.design import covering

Array = NDArray[np.float64]
COUNTS = (8, 16, 24, 32)
SPLITS = 20
# Of networks measured on another device, as many as a run would have measured there.
MEASURED_ELSEWHERE = 48


@dataclass(frozen=True)
class Table:
    """Networks of one space; arrays are of shape ``(n,)`` or ``(n, n_superblocks)``."""

    name: str
    widths: Array
    latency: Array
    again: Array | None
    costs: dict[str, Array]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a file; raises SystemExit where it is no such list."""
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list) or not all({"ratios", "latency_ratio"} <= set(row) for row in rows):
            raise SystemExit(f"{path}: expected a JSON list of rows with ratios and latency_ratio")

        def column(name: str) -> Array | None:
            return np.asarray([row[name] for row in rows], float) if all(name in row for row in rows) else None

        costs = {name: values for name in ("macs", "params") if (values := column(name)) is not None}
        widths = np.asarray([row["ratios"] for row in rows], float)
        latency = np.asarray([row["latency_ratio"] for row in rows], float)
        return cls(path.stem, widths, latency, column("latency_ratio_again"), costs)

    def work(self) -> Features:
        """Return what a run's roofline says without peaks: each network's MACs, relative to the largest."""
        macs = (self.costs["macs"] / self.costs["macs"].max()).tolist()
        known = dict(zip(map(tuple, self.widths.tolist()), macs, strict=True))
        return lambda widths: np.asarray([[known[tuple(row)]] for row in widths.tolist()])


@dataclass(frozen=True)
class Guess:
    """What a method expects of the rows that it did not learn from; ``inside`` where it gives intervals."""

    mean: Array
    inside: Array | None = None


Method = Callable[[Table, Array, Array], Guess]


def by_model(make: Callable[[Array, Array], Any]) -> Method:
    """Return a method from what makes a fitted model of widths and values."""

    def guess(table: Table, known: Array, unseen: Array) -> Guess:
        predicted = make(table.widths[known], table.latency[known]).predict(table.widths[unseen])
        truth = table.latency[unseen]
        return Guess(predicted.mean, (predicted.low <= truth) & (truth <= predicted.high))

    return guess


def by_cost(name: str) -> Method:
    """Return a method that knows one cost of each network; least squares of the relative error."""

    def guess(table: Table, known: Array, unseen: Array) -> Guess:
        column, weights = table.costs[name][:, None], table.latency[known] ** -2.0
        return Guess(
            LinearRegression().fit(column[known], table.latency[known], sample_weight=weights).predict(column[unseen])
        )

    return guess


def layer_sum(table: Table, known: Array, unseen: Array) -> Guess:
    """Add up what a table over neighbours' widths says of each superblock."""
    levels = np.unique(table.widths.round(6), return_inverse=True)[1].reshape(table.widths.shape)
    pairs = np.concatenate([levels[:, :1], levels[:, :-1] * 1000 + levels[:, 1:]], axis=1)
    terms = OneHotEncoder(sparse_output=False).fit_transform(pairs)
    weights = table.latency[known] ** -2.0
    model = Ridge(alpha=1e-3).fit(terms[known], table.latency[known], sample_weight=weights)
    return Guess(model.predict(terms[unseen]))


def methods(table: Table, sources: Sequence[Source]) -> dict[str, Method]:
    """Return everything that competes on a table."""
    features = table.work() if "macs" in table.costs else None
    found: dict[str, Method] = {
        "scbp": by_model(lambda widths, values: best_model(widths, values, features=features)),
        "staircase": by_model(lambda widths, values: StaircaseModel().fit(widths, values)),
        "additive": by_model(lambda widths, values: AdditiveModel().fit(widths, values)),
        "per-layer sum": layer_sum,
        **{name: by_cost(name) for name in table.costs},
    }
    if sources:
        found["scbp, warm"] = by_model(lambda widths, values: WarmModel(sources).fit(widths, values))
    return found


def judge(table: Table, method: Method, count: int, splits: int, design: bool) -> dict[str, float]:
    """Return a method's figures, the mean over splits; of intervals where it gives any."""
    figures = [_figures(table, method, _drawn(table, count, own, design)) for own in range(splits)]
    return {name: round(float(np.mean([own[name] for own in figures])), 4) for name in figures[0]}


def _drawn(table: Table, count: int, random_seed: int, design: bool) -> Array:
    if design:
        return np.asarray(covering(table.widths, count, random_seed))
    return np.random.default_rng(random_seed).permutation(len(table.latency))[:count]


def _figures(table: Table, method: Method, known: Array) -> dict[str, float]:
    unseen = np.setdiff1d(np.arange(len(table.latency)), known)
    guess = method(table, known, unseen)
    found = agreement(guess.mean, table.latency[unseen])
    return found if guess.inside is None else {**found, "coverage": float(np.mean(guess.inside))}


def agreement(predicted: Array, truth: Array) -> dict[str, float]:
    """Return how near, and how well ordered."""
    errors = np.abs(predicted / truth - 1.0)
    within = {f"within_{limit}_percent": float(np.mean(errors <= limit / 100)) for limit in (5, 10)}
    return {**within, "kendall_tau": float(stats.kendalltau(predicted, truth).statistic)}


def results(table: Table, sources: Sequence[Source], counts: Sequence[int], splits: int) -> Iterator[dict[str, Any]]:
    """Yield every method's figures at every count, from random rows and from the design's."""
    for count in counts:
        for name, method in methods(table, sources).items():
            for design in (False, True):
                drawn = "design" if design else "random"
                yield {"measured": count, "method": name, "rows": drawn, **judge(table, method, count, splits, design)}


def main() -> None:
    """Judge every method on the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="the networks to predict")
    parser.add_argument(
        "--source", type=Path, nargs="*", default=[], help="tables of other devices, for the warm start"
    )
    parser.add_argument("--json", type=Path, required=True, help="where to write the result, under the table's name")
    parser.add_argument("--quick", action="store_true", help="two splits at the two smallest counts")
    arguments = parser.parse_args()
    table = Table.read(arguments.table)
    sources = [_source(Table.read(path)) for path in arguments.source]
    counts, splits = (COUNTS[:2], 2) if arguments.quick else (COUNTS, SPLITS)
    counts = [count for count in counts if count < len(table.latency)]
    found: dict[str, Any] = {
        "networks": len(table.latency),
        "splits": splits,
        "sources": [own.name for own in sources],
        "second_pass": None if table.again is None else agreement(table.latency, table.again),
        "results": [],
    }
    for own in results(table, sources, counts, splits):
        found["results"].append(own)
        print(json.dumps(own), flush=True)
    everything = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({**everything, table.name: found}, indent=2) + "\n", encoding="utf-8")


def _source(table: Table) -> Source:
    rows = covering(table.widths, MEASURED_ELSEWHERE, 0)
    return Source(table.name, table.widths[rows], table.latency[rows])


if __name__ == "__main__":
    main()
