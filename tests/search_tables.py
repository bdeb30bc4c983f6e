"""Spaces of which every structure is known, so that a search can be judged: read from a table, or made up.

A table is a JSON list of ``{"ratios": [...], "latency_ratio": x, "params": n, "top1": y}``, one for each structure.
``latency_ratio`` and ``top1`` may be lists, of repeated measurements and of random seeds of the training; so may
``val_top1`` beside a ``top1`` of other images, and ``refit_top1``, which a training would begin with. Rows of
``bench/tabular.py`` have ``latency_ratio_again`` beside it, with the ends of both intervals and the quantiles of the
samples. A search sees one measurement and one training, of ``val_top1`` where that is there, and is judged by the
means, of ``top1``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY, Resource
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates, prior_of_importance
from scbp_host.search.base import Limits, Observation, Problem

Array = NDArray[np.float64]

RATIOS = (1.0, 0.75, 0.5, 0.25)
# Of a measurement, to either side: about what paired measurements give.
HALF_WIDTH = 0.01
# Of an energy, which is measured once and beside nothing.
ENERGY_NOISE = 0.03
_CHANNELS = 64
# What a row says of a measurement, and how it follows from the latency ratio where the row does not say it.
_FIGURES: Mapping[str, Callable[[Array], Array]] = {
    "latency_ratio": lambda ratio: ratio,
    "low": lambda ratio: (1 - HALF_WIDTH) * ratio,
    "high": lambda ratio: (1 + HALF_WIDTH) * ratio,
    "floor_ratio": lambda ratio: ratio,
}
_SPEC = SeedSpec("table", 10, (3, 32, 32))


class Table:
    """A space and everything about it.

    Args:
        rows: of the table; those that are not trained are left out. Where the seed, all ratios 1, is among them, it is
            no candidate, and latencies are relative to its own.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        rows = sorted((own for own in rows if "top1" in own), key=lambda own: own["ratios"], reverse=True)
        if not rows:
            raise SystemExit("the table has no trained structure yet: expected rows with top1")
        self.seed = rows[0]
        unit = 1.0
        if set(self.seed["ratios"]) == {1.0}:
            rows, unit = rows[1:], float(np.mean(_figure(self.seed, "latency_ratio")))
        self.widths = np.asarray([own["ratios"] for own in rows], dtype=np.float64)
        figures = {name: _stack([_figure(own, name) for own in rows]) for name in _FIGURES}
        self.latency, self.low, self.high = (figures[name] / unit for name in ("latency_ratio", "low", "high"))
        self.floor = figures["floor_ratio"] / unit
        self.top1 = np.asarray([np.mean(own["top1"]) for own in rows])
        self.trained_top1 = _stack([_trainings(own) for own in rows])
        self.refit_top1 = None
        if all("refit_top1" in own for own in (self.seed, *rows)):
            self.refit_top1 = _stack([np.atleast_1d(own["refit_top1"]) for own in rows])
        self.params = np.asarray([own["params"] for own in rows], dtype=np.float64)
        self.resources = self._made_up_resources()
        self.pool = tuple(
            Candidate(_SPEC, tuple(own), tuple((f"conv{k}", round(_CHANNELS * one)) for k, one in enumerate(own)))
            for own in self.widths.tolist()
        )
        self.rows = {own.structure_id: row for row, own in enumerate(self.pool)}

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a JSON file."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @property
    def true_points(self) -> Array:
        """``(n, 2)`` mean latency ratios and mean accuracies."""
        return np.stack([self.latency.mean(axis=1), self.top1], axis=1)

    @property
    def nadir(self) -> tuple[float, float]:
        """The slowest latency ratio and the lowest accuracy: what hypervolumes are measured from."""
        latency, top1 = self.true_points.T
        return float(latency.max()), float(top1.min())

    def problem(
        self, random_seed: int, limits: Limits | None = None, estimated: Collection[int] | None = None
    ) -> Problem:
        """Return what a search is made from.

        Args:
            random_seed: of the search, and which training of the seed it sees.
            limits: the budgets; None sets none.
            estimated: rows whose accuracy is guessed by refit, and the others' by theirs, as ``--accuracy refit`` does;
                with None all are guessed by their widths, which stand for the share of importance that is kept.
        """
        seed_top1 = _one_of(_trainings(self.seed), random_seed)
        return Problem(
            self.pool, self.widths, self._prior(random_seed, estimated), limits or Limits(), seed_top1, random_seed
        )

    def _prior(self, random_seed: int, estimated: Collection[int] | None) -> AccuracyPrior:
        if estimated is None or self.refit_top1 is None:
            return prior_of_importance(np.exp(np.log(self.widths).mean(axis=1)), self.widths)
        rows = list(estimated)
        estimates = np.full(len(self.pool), np.nan)
        estimates[rows] = [_one_of(self.refit_top1[row], random_seed) for row in rows]
        return prior_of_estimates(estimates, _one_of(np.atleast_1d(self.seed["refit_top1"]), random_seed), self.widths)

    def measured(self, candidate: Candidate, repeat: int = 0) -> Observation:
        """Return what a search sees of a structure that is measured."""
        return self._observation(candidate, repeat, None)

    def trained(self, candidate: Candidate, repeat: int = 0) -> Observation:
        """Return what it sees of one that is trained."""
        row = self.rows[candidate.structure_id]
        return self._observation(candidate, repeat, _one_of(self.trained_top1[row], repeat))

    def _made_up_resources(self) -> Mapping[Resource, Array]:
        """Return ``(n,)`` of each: a peak that follows the weights, and energy for being on and for arithmetic."""
        work = np.square(self.widths).mean(axis=1)
        energy = 10.0 * self.latency.mean(axis=1) + 5.0 * work
        noise = np.random.default_rng(0).normal(0.0, ENERGY_NOISE, len(energy))
        return {MEMORY: 20.0 + 8e-6 * self.params, ENERGY: energy * np.exp(noise)}

    def _observation(self, candidate: Candidate, repeat: int, val_top1: float | None) -> Observation:
        row = self.rows[candidate.structure_id]
        return Observation(
            candidate,
            Interval(*(_one_of(own[row], repeat) for own in (self.latency, self.low, self.high))),
            resources={own: float(amounts[row]) for own, amounts in self.resources.items()},
            onnx_bytes=int(4 * self.params[row]),
            val_top1=val_top1,
            floor_ratio=_one_of(self.floor[row], repeat),
        )


def parse_search(parser: argparse.ArgumentParser, seeds: int, quick: int) -> argparse.Namespace:
    """Read the command line of a bench of searches: what it adds itself, and what all of them take.

    Args:
        parser: of the bench.
        seeds: random seeds where nothing is asked for.
        quick: random seeds with ``--quick``.
    """
    parser.add_argument("--table", type=Path, help="a JSON list of {ratios, latency_ratio, params, top1}")
    parser.add_argument("--synthetic", type=int, default=0, help="which made-up table, where there is none")
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--seeds", type=int, default=seeds, help="random seeds")
    parser.add_argument("--trainings", type=int, help="at most; by default a quarter of the space")
    parser.add_argument("--batch", type=int, default=2, help="trained between two proposals")
    parser.add_argument("--measure", type=int, default=32, help="measured before anything is trained")
    parser.add_argument("--quick", action="store_true", help=f"{quick} random seeds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds = quick
    return arguments


def table_asked_for(arguments: argparse.Namespace) -> tuple[Table, dict[str, Any]]:
    """Return the table, and what a result says of it."""
    if arguments.table is None:
        table, name = Table(synthetic(random_seed=arguments.synthetic)), f"synthetic {arguments.synthetic}"
    else:
        table, name = Table.read(arguments.table), arguments.table.stem
    return table, {
        "table": name,
        "structures": len(table.pool),
        "training_seeds": table.trained_top1.shape[1],
        "trainings": arguments.trainings or len(table.pool) // 4,
        "batch": arguments.batch,
        "measured_first": arguments.measure,
    }


def _figure(row: Mapping[str, Any], name: str) -> Array:
    """Return what every measurement of a structure says."""
    if name not in row:
        return _FIGURES[name](_figure(row, "latency_ratio"))
    found = [row[own] for own in (name, f"{name}_again") if own in row]
    return np.concatenate([np.atleast_1d(np.asarray(own, dtype=np.float64)) for own in found])


def _trainings(row: Mapping[str, Any]) -> Array:
    return np.atleast_1d(row.get("val_top1", row["top1"])).astype(np.float64)


def _stack(values: Sequence[Array]) -> Array:
    """Return ``(n, most)``; whoever has fewer of them, in a table that grows, has them over again."""
    most = max(len(own) for own in values)
    return np.stack([np.resize(own, most) for own in values])


def _one_of(values: Array, repeat: int) -> float:
    return float(values[repeat % len(values)])


def synthetic(superblocks: int = 4, repeats: int = 2, random_seed: int = 0) -> list[dict[str, Any]]:
    """Make up a table: latencies with the staircases of a runtime's channel blocks, accuracies that saturate.

    Args:
        superblocks: of four ratios each.
        repeats: measurements and trainings of each structure.
        random_seed: of everything; another one is another network on another board.
    """
    random = np.random.default_rng(random_seed)
    everyone = np.asarray(list(itertools.product(RATIOS, repeat=superblocks)))
    work = random.dirichlet(np.full(superblocks, 4.0))
    steps = random.choice([4, 8, 16], superblocks)
    # Part of the channels is padded up to a whole block, and a block that is not full costs a little extra.
    channels = 24.0 * everyone
    padded = np.ceil(channels / steps) * steps / (np.ceil(24.0 / steps) * steps)
    stairs = padded + 0.08 * (channels % steps > 0)
    before = np.concatenate([np.ones((len(everyone), 1)), stairs[:, :-1]], axis=1)
    latency = 0.08 + 0.92 * (work * stairs * before).sum(axis=1)
    # What a superblock lacks costs more than in proportion, and blocks that follow each other make up for each other.
    need = random.uniform(0.02, 0.12, superblocks)
    lack = (need * (1.0 / everyone - 1.0) ** random.uniform(0.8, 1.4, superblocks)).sum(axis=1)
    together = 0.04 * np.prod(1.0 - everyone[:, :2], axis=1)
    top1 = 0.5 + 0.45 * np.exp(-1.2 * lack - together)
    noisy_top1 = top1[:, None] + random.normal(0.0, 0.004, (len(everyone), repeats))
    noisy_latency = latency[:, None] * np.exp(random.normal(0.0, 0.005, (len(everyone), repeats)))
    weights = np.square(everyone[:, :-1] * everyone[:, 1:]) @ (4.0 ** np.arange(1, superblocks))
    return [
        {"ratios": own.tolist(), "latency_ratio": lat.tolist(), "params": round(1e4 + 1e4 * par), "top1": acc.tolist()}
        for own, lat, par, acc in zip(everyone, noisy_latency, weights, noisy_top1, strict=True)
    ]
