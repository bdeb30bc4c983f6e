"""How well a slimmable seed ranks candidates that it never trained alone, and what that costs.

python tests/bench/supernet.py [--quick] --json docs/bench/supernet.json

ResNet-18 on the textures, the default space of 255 candidates. The seed is trained, then the slimmable seed, which
estimates candidates drawn at random. The same candidates are trained as a run trains them. Kendall's tau compares the
orders. Every step's result is written at once; called again, the bench goes on. `--most` ends it after so many more
candidates.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import stats

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates, prior_of_importance
from scbp_host.search.one_shot import importance_kept, relative_widths
from scbp_host.space.cost import cost
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import Module, build_seed, load_weights, seed_spec
from scbp_host.space.slices import Carving, carve
from scbp_host.space.survey import survey_seed
from scbp_host.stages.binning import bin_offline
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.space import make_pool, make_space
from scbp_host.tasks.datasets import load_task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import CANDIDATE_RECIPE, SEED_RECIPE
from scbp_host.training.supernet import RANDOM_PARTS, SUPERNET_RECIPE, estimate_top1, train_supernet
from scbp_host.training.trainer import TrainResult, train

CANDIDATES = 24
RESAMPLES = 2000
# What a search has seen when it chooses its second round.
SEEN = 6


@dataclass(frozen=True)
class Epochs:
    """How long each network is trained."""

    seed: int = SEED_RECIPE.epochs
    supernet: int = SUPERNET_RECIPE.epochs
    candidate: int = CANDIDATE_RECIPE.epochs


def main() -> None:
    """Do what is left to do, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="6 candidates, a few epochs: shows that it works")
    parser.add_argument("--work", type=Path, help="where trained weights are kept; beside the result by default")
    parser.add_argument("--most", type=int, default=CANDIDATES, help="train at most so many candidates in this call")
    arguments = parser.parse_args()
    work = arguments.work or arguments.json.with_suffix(".work")
    count = 6 if arguments.quick else CANDIDATES
    bench = _Bench(arguments.json, work, count, Epochs(3, 1, 1) if arguments.quick else Epochs())
    bench.train_seed()
    bench.train_supernet()
    bench.train_candidates(arguments.most)
    bench.compare()


class _Bench:
    """One seed, one slimmable seed, and the candidates; ``self.result`` is what the file says."""

    def __init__(self, path: Path, work: Path, count: int, epochs: Epochs) -> None:
        self._path, self._work, self._epochs = path, work, epochs
        self._config = RunConfig(data="textures")
        self._task = load_task(self._config.data, self._config.input_shape)
        self._spec = seed_spec(self._config.model, len(self._task.class_names), self._config.input_shape)
        self._space = _space(self._spec, self._config)
        self._pool = make_pool(self._space, self._config.random_seed)
        rows = np.random.default_rng(0).choice(len(self._pool), count, replace=False)
        self._chosen = [self._pool[row] for row in rows]
        known = {"machine": {"machine": platform.machine(), "python": platform.python_version()}, "candidates": []}
        self.result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else known

    def train_seed(self) -> None:
        """Train the seed as a run does."""
        seed = build_seed(self._spec, self._config.random_seed)
        recipe = replace(SEED_RECIPE, epochs=self._epochs.seed)
        self._seed = self._kept("seed", seed, lambda: train(seed, self._task, recipe, self._config.random_seed))
        self._inheritance = Inheritance(self._config, self._task, self._spec, self._seed)
        self._teacher = RememberingTeacher(self._seed)

    def train_supernet(self) -> None:
        """Train the slimmable seed as a run does, and estimate every chosen candidate."""
        shared = copy.deepcopy(self._seed)
        recipe = replace(SUPERNET_RECIPE, epochs=self._epochs.supernet)
        narrowest = min(self._pool, key=lambda own: sum(width for _, width in own.widths))
        self._supernet = self._kept(
            "supernet",
            shared,
            lambda: train_supernet(
                shared,
                self._task,
                recipe,
                self._config.random_seed,
                self._carve(narrowest),
                len(self._pool),
                lambda index: self._carve(self._pool[index]),
                checkpoint=self._work / "supernet.checkpoint",
            ),
        )
        if "seed_estimate" not in self.result:
            full = self._space.candidate((1.0,) * len(self._space.superblocks))
            self.result["seed_estimate"] = estimate_top1(self._carve(full), self._supernet, self._task)

    def train_candidates(self, most: int) -> None:
        """Estimate and train what has not been, ``most`` at most."""
        done = {tuple(own["ratios"]) for own in self.result["candidates"]}
        for candidate in [own for own in self._chosen if own.ratios not in done][:most]:
            self.result["candidates"].append(self._figures(candidate))
            print(json.dumps(self.result["candidates"][-1]), flush=True)
            self._write()

    def compare(self) -> None:
        """Compare the orders of all candidates trained so far."""
        own = self.result["candidates"]
        if len(own) <= SEEN - 1:
            return
        true = np.asarray([figures["test_top1"] for figures in own])
        guesses = {
            name: [figures[name] for figures in own] for name in ("estimate", "importance_kept", "macs", "params")
        }
        guesses["val_top1"] = [figures["val_top1"] for figures in own]
        self.result["kendall_tau_with_test_top1"] = {name: _tau(np.asarray(of), true) for name, of in guesses.items()}
        self.result["kendall_tau_of_estimate_with_val_top1"] = _tau(
            np.asarray(guesses["estimate"]), np.asarray(guesses["val_top1"])
        )
        self.result["after_6_trainings"] = self._after_trainings(own)
        self.result["cost"] = self._cost(own)
        self._write()
        print(json.dumps({name: of for name, of in self.result.items() if name != "candidates"}, indent=2))

    def _figures(self, candidate: Candidate) -> dict[str, Any]:
        started = time.monotonic()
        estimate = estimate_top1(self._carve(candidate), self._supernet, self._task)
        estimate_s = time.monotonic() - started
        module = self._inheritance.start(candidate)
        figures = cost(module, self._spec.input_shape)
        recipe = replace(CANDIDATE_RECIPE, epochs=self._epochs.candidate)
        result = train(module, self._task, recipe, self._config.random_seed, self._teacher)
        assert isinstance(result, TrainResult), result
        return {
            "ratios": list(candidate.ratios),
            "estimate": estimate,
            "estimate_seconds": round(estimate_s, 2),
            "importance_kept": float(importance_kept([candidate], self._inheritance.shares())[0]),
            "params": figures.params,
            "macs": figures.macs,
            "val_top1": result.val_top1,
            "test_top1": evaluate(module, self._task.held_out),
            "seconds": round(result.seconds, 1),
        }

    def _after_trainings(self, own: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Let a search learn from 6 trainings, drawn again and again, and predict the others."""
        candidates = [self._space.candidate(figures["ratios"]) for figures in own]
        blocks = [{group.name: group.channels for group in block.groups} for block in self._space.superblocks]
        widths = relative_widths(candidates, blocks)
        estimates = np.asarray([figures["estimate"] for figures in own])
        kept = np.asarray([figures["importance_kept"] for figures in own])
        priors = {
            "supernet": prior_of_estimates(estimates, self.result["seed_estimate"], widths),
            "importance": prior_of_importance(kept, widths),
        }
        top1 = np.asarray([figures["val_top1"] for figures in own])
        return {name: _predictions(prior, top1, self.result["seed"]["val_top1"]) for name, prior in priors.items()}

    def _cost(self, own: Sequence[dict[str, Any]]) -> dict[str, Any]:
        whole = cost(self._seed, self._spec.input_shape).macs
        shares = [cost(self._carve(candidate).module, self._spec.input_shape).macs / whole for candidate in self._pool]
        passes = 1 + min(shares) + RANDOM_PARTS * statistics.mean(shares)
        seed_s, supernet_s = self.result["seed"]["seconds"], self.result["supernet"]["seconds"]
        return {
            "supernet_in_seed_trainings": round(supernet_s / seed_s, 2),
            "supernet_in_seed_trainings_by_macs": round(passes * self._epochs.supernet / self._epochs.seed, 2),
            "median_estimate_seconds": statistics.median(figures["estimate_seconds"] for figures in own),
            "candidates_in_seed_trainings": round(sum(figures["seconds"] for figures in own) / seed_s, 2),
        }

    def _carve(self, candidate: Candidate) -> Carving:
        return carve(candidate, self._seed, self._inheritance.scores)

    def _kept(self, name: str, module: Module, compute: Callable[[], object]) -> Module:
        """Train ``module`` and keep its weights, or load them where they are kept."""
        path = self._work / f"{name}.safetensors"
        if name in self.result and path.exists():
            load_weights(module, path)
            return module
        result = compute()
        assert isinstance(result, TrainResult), result
        self._work.mkdir(parents=True, exist_ok=True)
        save_file({own: tensor.contiguous() for own, tensor in module.state_dict().items()}, path)
        self.result[name] = {
            "epochs": result.epochs,
            "val_top1": result.val_top1,
            "test_top1": evaluate(module, self._task.held_out),
            "seconds": round(result.seconds, 1),
        }
        print(name, json.dumps(self.result[name]), flush=True)
        self._write()
        return module

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.result, indent=2) + "\n", encoding="utf-8")


def _space(spec: SeedSpec, config: RunConfig) -> SearchSpace:
    return make_space(spec, bin_offline(survey_seed(spec), config).superblocks, config.ratios, 8)


def _tau(guess: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, Any]:
    """Return Kendall's tau-b with a percentile interval, bootstrapped over candidates."""
    random = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        rows = random.integers(len(true), size=len(true))
        resampled.append(stats.kendalltau(guess[rows], true[rows]).statistic)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {"tau": float(stats.kendalltau(guess, true).statistic), "ci95": [float(low), float(high)]}


def _predictions(prior: AccuracyPrior, top1: NDArray[np.float64], seed_top1: float) -> dict[str, float]:
    random = np.random.default_rng(0)
    errors, taus = [], []
    for _ in range(RESAMPLES // 10):
        order = random.permutation(len(top1))
        seen, others = order[:SEEN], order[SEEN:]
        expected, _ = prior.posterior(seen.tolist(), top1[seen].tolist(), seed_top1)
        errors.append(np.abs(expected - top1)[others].mean())
        taus.append(stats.kendalltau(expected[others], top1[others]).statistic if len(others) > 1 else math.nan)
    return {"mean_abs_error_points": 100 * statistics.mean(errors), "kendall_tau": float(np.nanmean(taus))}


if __name__ == "__main__":
    main()
