"""Accuracy at equal measured latency: SCBP, the uniform width multiplier, torch-pruning's global L1 pruning.

python tests/bench/equal_latency.py [--quick] [--data ...] [--accuracy ...] --json docs/bench/equal_latency.json

The budgets are the measured latencies of the uniform multipliers themselves, so that these lose nothing to their grid;
the others may use at most as much. All three get the same recipe, epochs, teacher and number of trainings: the two
rivals train their one network at each budget several times, SCBP trains several networks once. The best on validation
is reported on the test split. With --accuracy, SCBP competes once for each way to guess accuracies before training.
Run again, it goes on; --only and --seconds cut it into slices.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from comparing import GLOBAL_L1, SCBP, UNIFORM, compare, table, winners
from contest import Contest, Sizes, structure_of
from rivals import globally_pruned, nearest_below, widths_of
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates, prior_of_importance
from scbp_host.search.base import Limits, Problem, Purpose
from scbp_host.search.one_shot import OneShotSearch, importance_kept, relative_widths
from scbp_host.space.cost import cost
from scbp_host.space.seeds import Module, build_seed
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.estimates import SHORTLIST_FACTORS
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Payload
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.stages.refitted import SAMPLE
from scbp_host.stages.space import seed_candidate
from scbp_host.store import Store
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.refit import KeptOutputs
from scbp_host.training.trainer import train

# What the search proposes is predicted to be in time; after so many that were not, the bench gives up.
TRIES = 12
# Some on each side of every budget are where the search for torch-pruning's ratio begins.
PRUNING_RATIOS = (0.3, 0.5, 0.7, 0.9)
SIZES = {"textures": Sizes(seed_epochs=10), "digits": Sizes(seed_epochs=6)}
QUICK = Sizes(random_seeds=(0,), multipliers=(0.25,), spread=8, trainings=1, seed_epochs=1, epochs=1)


@dataclass(frozen=True)
class Entrant:
    """A network that competes at one budget.

    Attributes:
        method: whose.
        name: of the network, within this random seed.
        latency_ratio: to the network of the largest multiplier, judged.
        start: returns it as its training begins.
        streams: numbers of its trainings; those of one number see the same batches.
    """

    method: str
    name: str
    latency_ratio: float
    start: Callable[[], Module]
    streams: tuple[int, ...]


class Round:
    """One random seed's contest."""

    def __init__(self, contest: Contest, random_seed: int, guesses: Sequence[str]) -> None:
        self._contest, self._random_seed, self._guesses = contest, random_seed, guesses
        sizes = contest.sizes
        self._config = RunConfig(
            model=sizes.model,
            data=contest.data,
            input_shape=sizes.input_shape,
            seed_epochs=sizes.seed_epochs,
            epochs=sizes.epochs,
            random_seed=random_seed,
        )
        self._seed = self._trained_seed()
        self._inheritance = Inheritance(self._config, contest.task, contest.spec, self._seed)
        self._teacher = RememberingTeacher(self._seed)
        superblocks = [{group.name: group.channels for group in own.groups} for own in contest.space.superblocks]
        self._widths = relative_widths(contest.pool, superblocks)

    def results(self, streams: Sequence[int]) -> dict[str, Any]:
        """Return the figures of all methods at all budgets; raises SliceOver.

        Args:
            streams: the trainings to do; processes can share the work by them.
        """
        budgets = self._contest.budgets()
        seed_ratio = self._contest.latency_ratio(seed_candidate(self._contest.space))
        field = list(self._field(budgets))
        trained = defaultdict(list)
        # Stream by stream: the teacher answers one stream's batches once.
        for stream in streams:
            for own in field:
                if stream in own.streams:
                    trained[own.method].append(self._trained(own, stream))
        if len(streams) < self._contest.sizes.trainings:
            raise SliceOver(f"streams {streams} are complete")
        seed = self._contest.ledger.payloads("seed")[str(self._random_seed)]
        return {
            "random_seed": self._random_seed,
            "seed": {name: seed[name] for name in ("val_top1", "test_top1", "seconds")} | {"latency_ratio": seed_ratio},
            "budgets": [
                {"multiplier": multiplier, "latency_ratio": budget, **winners(trained, budget)}
                for multiplier, budget in budgets
            ],
        }

    def _field(self, budgets: Sequence[tuple[float, float]]) -> Iterator[Entrant]:
        for multiplier, budget in budgets:
            yield from self._rivals(multiplier, budget)
        for guess in self._guesses:
            # All searches first: some of them train to look closer, and to change between the two costs slices.
            for search, (_, budget) in zip([self._search(guess, own) for _, own in budgets], budgets, strict=True):
                yield from self._proposals(guess, search, budget)

    def _trained_seed(self) -> Module:
        contest, candidate = self._contest, seed_candidate(self._contest.space)
        artifacts = Artifacts(contest.folder / str(self._random_seed))

        def compute() -> Payload | Failure:
            contest.slice.begin("train")
            module = build_seed(contest.spec, self._random_seed)
            result = train(module, contest.task, seed_recipe(self._config), self._random_seed)
            if isinstance(result, Failure):
                return result
            figures = {"val_top1": result.val_top1, "test_top1": evaluate(module, contest.task.held_out)}
            return {**figures, "seconds": result.seconds, "weights_sha256": artifacts.save_module(candidate, module)}

        payload = contest.ledger.must("seed", str(self._random_seed), compute)
        return artifacts.load_module(candidate.structure_id, payload["weights_sha256"])

    def _rivals(self, multiplier: float, budget: float) -> Iterator[Entrant]:
        streams = tuple(range(self._contest.sizes.trainings))
        candidate = self._contest.uniform(multiplier)
        yield Entrant(
            UNIFORM, f"{UNIFORM}/{multiplier:g}", budget, partial(self._inheritance.start, candidate), streams
        )
        pruning_ratio, latency_ratio = self._pruned_to(budget)
        start = partial(self._pruned_start, pruning_ratio)
        yield Entrant(GLOBAL_L1, f"{GLOBAL_L1}/{pruning_ratio:.3f}", latency_ratio, start, streams)

    def _pruned_to(self, budget: float) -> tuple[float, float]:
        """Return the pruning ratio whose judged latency is nearest below the budget, and that latency."""
        known = {own: self._pruned_latency(own) for own in PRUNING_RATIOS}
        judged: set[float] = set()
        while (found := nearest_below(budget, self._pruned_latency, known)) not in judged:
            known[found] = self._contest.judge.ratio(self._pruned_name(found), partial(self._pruned, found))
            judged.add(found)
        return found, known[found]

    def _pruned_name(self, pruning_ratio: float) -> str:
        return f"{GLOBAL_L1}/{self._random_seed}/{pruning_ratio:.3f}"

    def _pruned_latency(self, pruning_ratio: float) -> float:
        """Return one session's ratio: enough to search by."""
        name = self._pruned_name(pruning_ratio)
        return self._contest.judge.measured(name, partial(self._pruned, pruning_ratio)).ratio.value

    def _pruned(self, pruning_ratio: float) -> bytes:
        return structure_of(self._pruning(pruning_ratio)[0], self._contest.spec.input_shape)

    def _pruned_start(self, pruning_ratio: float) -> Module:
        module, kept = self._pruning(pruning_ratio)
        self._inheritance.settle(module, kept)
        return module

    def _pruning(self, pruning_ratio: float) -> tuple[Module, KeptOutputs]:
        return globally_pruned(self._seed, self._contest.spec, pruning_ratio, self._contest.channel_step)

    def _proposals(self, guess: str, search: OneShotSearch, budget: float) -> list[Entrant]:
        """Let the search propose, measure what it proposes, and take the first that are in time."""
        contest = self._contest
        taken: list[Entrant] = []
        for _ in range(TRIES):
            for candidate in search.propose(Purpose.TRAIN, contest.sizes.trainings - len(taken)).candidates:
                # Further sessions are for those that one does not show to be too slow.
                hopeless = contest.observation(candidate).latency_ratio.low > budget
                latency_ratio = math.inf if hopeless else contest.latency_ratio(candidate)
                in_time = latency_ratio <= budget
                search.observe([contest.observation(candidate, taken=in_time, failed=not in_time)])
                if in_time:
                    taken.append(self._scbp(guess, candidate, latency_ratio, len(taken)))
            if len(taken) == contest.sizes.trainings:
                return taken
        raise SystemExit(f"scbp: no {contest.sizes.trainings} proposals are within a latency ratio of {budget:.3f}")

    def _scbp(self, guess: str, candidate: Candidate, latency_ratio: float, stream: int) -> Entrant:
        name = f"{SCBP}/{_ratios(candidate)}"
        return Entrant(f"{SCBP}-{guess}", name, latency_ratio, partial(self._inheritance.start, candidate), (stream,))

    def _search(self, guess: str, budget: float) -> OneShotSearch:
        """Return a search that knows the spread; by ``refit``, it has looked closer at what it would propose."""
        if guess == "importance":
            kept = importance_kept(self._contest.pool, self._inheritance.shares())
            return self._informed(prior_of_importance(kept, self._widths), budget)
        sample = np.random.default_rng(self._random_seed).permutation(len(self._contest.pool))[:SAMPLE]
        self._estimate(self._contest.pool[row] for row in np.sort(sample))
        for factor in SHORTLIST_FACTORS:
            count = factor * self._contest.sizes.trainings
            self._estimate(self._informed(self._estimated(), budget).propose(Purpose.TRAIN, count).candidates)
        return self._informed(self._estimated(), budget)

    def _informed(self, prior: AccuracyPrior, budget: float) -> OneShotSearch:
        contest = self._contest
        seed_top1 = contest.ledger.payloads("seed")[str(self._random_seed)]["val_top1"]
        # One spread for all random seeds, so that its structures are measured once.
        search = OneShotSearch(Problem(contest.pool, self._widths, prior, Limits(latency_ratio=budget), seed_top1, 0))
        spread = search.propose(Purpose.MEASURE, contest.sizes.spread).candidates
        search.observe([contest.observation(own) for own in spread])
        return search

    def _estimate(self, candidates: Iterable[Candidate]) -> None:
        """Look at the accuracies of networks as their training would begin."""
        for candidate in candidates:
            self._contest.ledger.must("refit", self._refit_name(candidate), partial(self._refitted, candidate))

    def _refitted(self, candidate: Candidate) -> Payload:
        self._contest.slice.begin("train")
        return {"val_top1": evaluate(self._inheritance.start(candidate), self._contest.task.validation)}

    def _estimated(self) -> AccuracyPrior:
        known = self._contest.ledger.payloads("refit")
        names = [self._refit_name(own) for own in self._contest.pool]
        estimates = np.asarray([known[own]["val_top1"] if own in known else np.nan for own in names])
        seed_top1 = self._contest.ledger.payloads("seed")[str(self._random_seed)]["val_top1"]
        return prior_of_estimates(estimates, seed_top1, self._widths)

    def _refit_name(self, candidate: Candidate) -> str:
        return f"{self._random_seed}/{_ratios(candidate)}"

    def _trained(self, entrant: Entrant, stream: int) -> dict[str, Any]:
        contest = self._contest
        subject = f"{self._random_seed}/{entrant.name}/{stream}"

        def compute() -> Payload | Failure:
            contest.slice.begin("train")
            module = entrant.start()
            random_seed = 10 * self._random_seed + stream
            result = train(module, contest.task, candidate_recipe(self._config), random_seed, self._teacher)
            if isinstance(result, Failure):
                return result
            figures = {"val_top1": result.val_top1, "test_top1": evaluate(module, contest.task.held_out)}
            return {**figures, "seconds": result.seconds, "widths": widths_of(module)} | asdict(
                cost(module, contest.spec.input_shape)
            )

        payload = contest.ledger.must("train", subject, compute)
        return {"method": entrant.method, "name": entrant.name, "latency_ratio": entrant.latency_ratio, **payload}


def _ratios(candidate: Candidate) -> str:
    return "/".join(f"{own:g}" for own in candidate.ratios)


def main() -> None:
    """Go on with every data set and random seed as far as this slice goes, and write what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SIZES, default=list(SIZES), help="which data sets")
    parser.add_argument(
        "--accuracy", nargs="+", choices=("importance", "refit"), default=["importance"], help="what SCBP guesses by"
    )
    add_common_arguments(parser, ".bench/equal_latency")
    parser.add_argument("--stream", type=int, help="do only this one of the trainings that every method has")
    arguments = parser.parse_args()
    own_slice = Slice.of(arguments)
    result: dict[str, Any] = {"machine": machine(device="local"), "data": {}}
    with Store.open(arguments.work / "bench.sqlite") as store:
        for data in arguments.data:
            sizes = QUICK if arguments.quick else SIZES[data]
            streams = range(sizes.trainings) if arguments.stream is None else [arguments.stream]
            ledger = open_ledger(store, data, json.loads(json.dumps(asdict(sizes))))
            contest = Contest(data, sizes, ledger, arguments.work / data, own_slice)
            with contest.judge:
                rounds = list(_complete(contest, arguments.accuracy, streams))
            if rounds:
                compared = compare(rounds, arguments.accuracy)
                print(table(compared))
                result["data"][data] = {"sizes": asdict(sizes), "compared": compared, "rounds": rounds}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _complete(contest: Contest, guesses: Sequence[str], streams: Sequence[int]) -> Iterator[dict[str, Any]]:
    for random_seed in contest.sizes.random_seeds:
        try:
            yield Round(contest, random_seed, guesses).results(streams)
            print(f"{contest.data}, random seed {random_seed}: complete", flush=True)
        except SliceOver as over:
            print(f"{contest.data}, random seed {random_seed}: {over}", flush=True)


if __name__ == "__main__":
    main()
