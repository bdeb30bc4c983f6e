"""How well a slimmable seed ranks candidates that it never trained alone, and what that costs.

python tests/bench/supernet.py [--quick] --json docs/bench/supernet.json

ResNet-18 on the textures, the default space of 255 structures. The seed is trained, then the slimmable seed, which
estimates a run's sample of structures and the candidates, drawn at random. The candidates are then trained as a run
trains them. Kendall's tau compares the orders, beside those of what costs nothing. Run again, it goes on; --seconds
cuts it into slices.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.events import Event, Progress, StageStarted
from scbp_host.measuring.session import MeasureSettings
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates, prior_of_importance
from scbp_host.search.one_shot import importance_kept, relative_widths
from scbp_host.space.cost import cost
from scbp_host.space.derive import derive
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.space.slices import carve
from scbp_host.space.survey import survey_seed
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.binning import bin_offline
from scbp_host.stages.candidates import CandidateTrainer, OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.estimates import ESTIMATE
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.recipes import seed_recipe
from scbp_host.stages.space import make_pool, make_space, seed_candidate
from scbp_host.stages.supernet import SAMPLE, SUPERNET, Supernet
from scbp_host.store import Store
from scbp_host.tasks.datasets import load_task
from scbp_host.training.inference import evaluate
from scbp_host.training.supernet import estimate_top1
from scbp_host.training.trainer import TrainResult, train

SEED, CANDIDATE, FREE, LAP = "seed", "candidate", "free", "lap"
RESAMPLES = 2000
# What a search has seen when it chooses its second round.
SEEN = 6
# What a candidate's accuracy may be guessed by; the first is what the bench is about.
GUESSES = ("estimate", "predicted", "sliced_seed", "inherited", "importance_kept", "macs", "params")

Trained = tuple[Module, TrainResult] | Failure
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """How many candidates are trained, and for how many epochs each network."""

    candidates: int = 24
    seed_epochs: int = 10
    supernet_epochs: int = 6
    epochs: int = 4
    data: str = "textures"
    ratios: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)


QUICK = Sizes(8, 2, 1, 1, ratios=(1.0, 0.5))


class Laps:
    """Keeps the processor seconds of every epoch and estimate, and ends the slice between two of them."""

    def __init__(self, ledger: Ledger, own_slice: Slice) -> None:
        self._ledger, self._slice = ledger, own_slice
        self._since = time.process_time()

    def __call__(self, event: Event) -> None:
        """Listen to a stage."""
        if isinstance(event, StageStarted):
            self._since = time.process_time()
        elif isinstance(event, Progress):
            self._keep(event.stage)
            self._slice.begin("train")

    def seconds(self, stage: str) -> list[float]:
        """Return the laps of one stage."""
        return [lap["seconds"] for own, lap in self._ledger.payloads(LAP).items() if own.startswith(f"{stage}/")]

    def _keep(self, stage: str) -> None:
        lap = {"seconds": time.process_time() - self._since}
        self._ledger.must(LAP, f"{stage}/{len(self.seconds(stage))}", lambda: lap)
        self._since = time.process_time()


class Bench:
    """One seed, one slimmable seed, and the candidates."""

    def __init__(self, sizes: Sizes, ledger: Ledger, folder: Path, own_slice: Slice) -> None:
        self._sizes, self._ledger, self.laps = sizes, ledger, Laps(ledger, own_slice)
        self._config = config = RunConfig(
            data=sizes.data,
            ratios=sizes.ratios,
            seed_epochs=sizes.seed_epochs,
            supernet_epochs=sizes.supernet_epochs,
            epochs=sizes.epochs,
        )
        self._task = load_task(config.data, config.input_shape)
        self._spec = spec = seed_spec(config.model, len(self._task.class_names), config.input_shape)
        nobody: Any = None  # nothing is measured
        self._run = RunContext(
            config, nobody, nobody, self._task, spec, ledger, Artifacts(folder), MeasureSettings(), self.laps
        )
        superblocks = bin_offline(survey_seed(spec), config).superblocks
        self._space = make_space(spec, superblocks, config.ratios, 8)
        self._pool = make_pool(self._space, config.random_seed)
        widths = [{group.name: group.channels for group in block.groups} for block in superblocks]
        self._widths = relative_widths(self._pool, widths)
        self._rows = np.random.default_rng(0).choice(len(self._pool), sizes.candidates, replace=False)

    def results(self) -> dict[str, Any]:
        """Do what is left to do, and return what came out; raises SliceOver."""
        seed = self._trained_seed()
        inheritance = Inheritance(self._config, self._task, self._spec, seed)
        supernet = Supernet(self._run, seed_candidate(self._space), self._pool, seed, inheritance.scores)
        supernet.prepare()
        supernet.estimate(self._chosen)
        trainer = CandidateTrainer(self._config, self._task, seed, inheritance)
        for own in self._chosen:
            self._ledger.once(FREE, own.structure_id, partial(self._free_guesses, own, seed, inheritance))
            self._trained(CANDIDATE, own, partial(trainer.train, own))
        kept = importance_kept(self._chosen, inheritance.shares())
        return self._compared([self._figures(*own) for own in zip(self._chosen, self._predicted(), kept, strict=True)])

    @property
    def _chosen(self) -> list[Candidate]:
        return [self._pool[row] for row in self._rows]

    def _trained_seed(self) -> Module:
        def begin(checkpoint: Path, on_epoch: OnEpoch) -> Trained:
            module, random_seed = build_seed(self._spec, self._config.random_seed), self._config.random_seed
            recipe = seed_recipe(self._config)
            result = train(module, self._task, recipe, random_seed, on_epoch=on_epoch, checkpoint=checkpoint)
            return result if isinstance(result, Failure) else (module, result)

        payload = self._trained(SEED, seed_candidate(self._space), begin)
        return self._run.artifacts.load_module(SEED, payload["weights_sha256"])

    def _trained(self, stage: str, candidate: Candidate, begin: Callable[[Path, OnEpoch], Trained]) -> Payload:
        """Train to the end, from the last epoch on."""
        name = SEED if stage == SEED else candidate.structure_id
        checkpoint = self._run.artifacts.checkpoint(name)

        def compute() -> Payload | Failure:
            self.laps(StageStarted(stage, name))
            trained = begin(checkpoint, lambda epoch, *_: self.laps(Progress(stage, epoch)))
            if isinstance(trained, Failure):
                return trained
            module, result = trained
            sha256 = self._run.artifacts.save_module(candidate, module, name)
            accuracies = {"val_top1": result.val_top1, "test_top1": evaluate(module, self._task.held_out)}
            return {**accuracies, "weights_sha256": sha256}

        payload = self._ledger.must(stage, name, compute)
        checkpoint.unlink(missing_ok=True)
        return payload

    def _free_guesses(self, candidate: Candidate, seed: Module, inheritance: Inheritance) -> Payload:
        """Return what is known without any training: by slicing the seed itself, and of what is to be trained."""
        part = carve(candidate, seed, inheritance.scores)
        return {
            "sliced_seed": estimate_top1(part, seed, self._task),
            "inherited": evaluate(inheritance.start(candidate), self._task.validation),
        }

    def _figures(self, candidate: Candidate, predicted: float, kept: float) -> dict[str, Any]:
        """Return what is known of one candidate."""
        name = candidate.structure_id
        estimate, free, trained = (self._ledger.payloads(own)[name] for own in (ESTIMATE, FREE, CANDIDATE))
        return {
            "ratios": list(candidate.ratios),
            "estimate": estimate["val_top1"],
            "predicted": float(predicted),
            **free,
            "importance_kept": float(kept),
            **asdict(cost(derive(candidate), self._spec.input_shape)),
            **{own: trained[own] for own in ("val_top1", "test_top1")},
        }

    def _predicted(self) -> Array:
        """Return what a run knows of the candidates where its sample holds none of them."""
        known = {own: payload["val_top1"] for own, payload in self._ledger.payloads(ESTIMATE).items()}
        of_others = {own: top1 for own, top1 in known.items() if own not in {one.structure_id for one in self._chosen}}
        estimates = np.asarray([of_others.get(own.structure_id, np.nan) for own in self._pool])
        seed_estimate = known[seed_candidate(self._space).structure_id]
        return prior_of_estimates(estimates, seed_estimate, self._widths).guess[self._rows]

    def _compared(self, candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        columns = {name: np.asarray([own[name] for own in candidates]) for name in (*GUESSES, "val_top1", "test_top1")}
        first_ratios = np.asarray([own["ratios"][0] for own in candidates])
        seed = self._ledger.payloads(SEED)[SEED]
        return {
            "kendall_tau_with_val_top1": {name: tau(columns[name], columns["val_top1"]) for name in GUESSES},
            "kendall_tau_with_test_top1": {
                name: tau(columns[name], columns["test_top1"]) for name in (*GUESSES, "val_top1")
            },
            "kendall_tau_with_test_top1_at_one_first_ratio": {
                name: kendall_within(columns[name], columns["test_top1"], first_ratios)
                for name in (*GUESSES, "val_top1")
            },
            "lead_over_importance": lead(columns["estimate"], columns["importance_kept"], columns["val_top1"]),
            f"after_{SEEN}_trainings": self._after_trainings(columns, seed["val_top1"]),
            "cost": self._cost(),
            "seed": {name: seed[name] for name in ("val_top1", "test_top1")},
            "candidates": candidates,
        }

    def _after_trainings(self, columns: Mapping[str, Array], seed_top1: float) -> dict[str, Any]:
        """Let a search learn from some trainings, drawn again and again, and predict the others."""
        widths = self._widths[self._rows]
        seed_estimate = self._ledger.payloads(ESTIMATE)[seed_candidate(self._space).structure_id]["val_top1"]
        priors = {
            "supernet": prior_of_estimates(columns["estimate"], seed_estimate, widths),
            "importance": prior_of_importance(columns["importance_kept"], widths),
        }
        return {name: predictions(prior, columns["val_top1"], seed_top1) for name, prior in priors.items()}

    def _cost(self) -> dict[str, float]:
        """Return processor seconds, and their multiples of the seed's training."""
        seed_s, supernet_s = (sum(self.laps.seconds(own)) for own in (SEED, SUPERNET))
        estimate_s = statistics.mean(self.laps.seconds(ESTIMATE))
        of_sample = estimate_s * min(SAMPLE, len(self._pool))
        return {
            "seed_training_seconds": seed_s,
            "estimate_seconds": estimate_s,
            "candidate_training_seconds": sum(self.laps.seconds(CANDIDATE)) / len(self._rows),
            "supernet_in_seed_trainings": supernet_s / seed_s,
            "estimates_in_seed_trainings": of_sample / seed_s,
            "both_in_seed_trainings": (supernet_s + of_sample) / seed_s,
            "a_thousand_more_estimates_in_seed_trainings": 1000 * estimate_s / seed_s,
        }


def tau(guess: Array, true: Array) -> dict[str, Any]:
    """Return Kendall's tau-b with a percentile interval, bootstrapped over candidates."""
    return {"tau": kendall(guess, true), "ci95": interval(lambda rows: kendall(guess[rows], true[rows]), len(true))}


def lead(guess: Array, other: Array, true: Array) -> dict[str, Any]:
    """Return by how much the tau of ``guess`` is above that of ``other``, with its interval on the same resamples."""

    def difference(rows: NDArray[np.int64]) -> float:
        return kendall(guess[rows], true[rows]) - kendall(other[rows], true[rows])

    return {"tau": difference(np.arange(len(true))), "ci95": interval(difference, len(true))}


def interval(statistic: Callable[[NDArray[np.int64]], float], count: int) -> list[float]:
    """Return the 95 % percentile interval of a statistic of ``count`` rows."""
    random = np.random.default_rng(0)
    values = [statistic(random.integers(count, size=count)) for _ in range(RESAMPLES)]
    return [float(own) for own in np.nanpercentile(values, [2.5, 97.5])]


def kendall(guess: Array, true: Array) -> float:
    """Return Kendall's tau-b; NaN where all of one are equal."""
    return float(stats.kendalltau(guess, true).statistic)


def kendall_within(guess: Array, true: Array, strata: Array) -> float:
    """Return Kendall's tau-b over those pairs alone that are of one stratum."""
    first, second = np.triu_indices(len(true), 1)
    same = strata[first] == strata[second]
    one, other = (np.sign(own[first] - own[second])[same] for own in (guess, true))
    return float(one @ other / np.sqrt(np.count_nonzero(one) * np.count_nonzero(other)))


def predictions(prior: AccuracyPrior, top1: Array, seed_top1: float) -> dict[str, float]:
    """Return how well ``SEEN`` trainings, drawn again and again, predict the others."""
    random = np.random.default_rng(0)
    errors, taus = [], []
    for _ in range(RESAMPLES // 10):
        order = random.permutation(len(top1))
        seen, others = order[:SEEN], order[SEEN:]
        expected, _ = prior.posterior(seen.tolist(), top1[seen].tolist(), seed_top1)
        errors.append(np.abs(expected - top1)[others].mean())
        taus.append(kendall(expected[others], top1[others]))
    return {"mean_abs_error_points": 100 * statistics.mean(errors), "kendall_tau": float(np.nanmean(taus))}


def main() -> None:
    """Do what this slice has time for, and write the result where it is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, ".bench/supernet")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    with Store.open(arguments.work / "bench.sqlite") as store:
        bench = Bench(
            sizes,
            open_ledger(store, SUPERNET, json.loads(json.dumps(asdict(sizes)))),
            arguments.work,
            Slice.of(arguments),
        )
        try:
            result = bench.results()
        except SliceOver as over:
            print(over)
            return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "sizes": asdict(sizes), **result}
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: of for name, of in result.items() if name != "candidates"}, indent=2))


if __name__ == "__main__":
    main()
