"""Accuracy at equal measured latency: SCBP, the uniform width multiplier, torch-pruning's global L1 pruning.

python tests/bench/equal_latency.py [--quick] [--data textures digits] --json docs/bench/equal_latency.json

The budgets are the measured latencies of the uniform multipliers themselves, so that these lose nothing to their grid;
the others may use at most as much. All three get the same recipe, epochs, teacher and number of trainings: the two
rivals train their one network at each budget several times, SCBP trains several networks once. The best on validation
is reported on the test split. Run again, it goes on; --only and --seconds cut it into slices.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from contest import Contest, Sizes
from rivals import globally_pruned, nearest_below, widths_of
from scipy import stats
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.search.base import Limits, Purpose
from scbp_host.search.one_shot import OneShotSearch, importance_kept, relative_widths
from scbp_host.space.cost import cost
from scbp_host.space.seeds import Module, build_seed
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Payload
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.stages.space import seed_candidate
from scbp_host.store import Store
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.refit import KeptOutputs
from scbp_host.training.trainer import train

SCBP, UNIFORM, GLOBAL_L1 = "scbp", "uniform", "global-l1"
# What the search proposes is predicted to be in time; after so many that were not, the bench gives up.
TRIES = 12
# One on each side of every budget is where the search for torch-pruning's ratio begins.
PRUNING_RATIOS = (0.3, 0.5, 0.7, 0.9)
QUICK = Sizes(random_seeds=(0,), multipliers=(0.25,), spread=8, trainings=1, seed_epochs=1, epochs=1)


@dataclass(frozen=True)
class Entrant:
    """A network that competes at one budget.

    Attributes:
        method: whose.
        name: of the network within its method.
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

    def __init__(self, contest: Contest, random_seed: int) -> None:
        self._contest, self._random_seed = contest, random_seed
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

    def results(self) -> dict[str, Any]:
        """Return the figures of all methods at all budgets; raises SliceOver."""
        budgets = self._contest.budgets()
        seed_ratio = self._contest.latency_ratio(seed_candidate(self._contest.space))
        field = [entrant for own in budgets for entrant in (*self._rivals(*own), *self._proposals(own[1]))]
        trained = defaultdict(list)
        # Stream by stream: the teacher answers one stream's batches once.
        for stream in range(self._contest.sizes.trainings):
            for own in field:
                if stream in own.streams:
                    trained[own.method].append(self._trained(own, stream))
        seed = self._contest.ledger.payloads("seed")[str(self._random_seed)]
        return {
            "random_seed": self._random_seed,
            "seed": {name: seed[name] for name in ("val_top1", "test_top1", "seconds")} | {"latency_ratio": seed_ratio},
            "budgets": [
                {"multiplier": multiplier, "latency_ratio": budget, **_winners(trained, budget)}
                for multiplier, budget in budgets
            ],
        }

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
        yield Entrant(UNIFORM, f"{multiplier:g}", budget, partial(self._inheritance.start, candidate), streams)
        pruning_ratio, latency_ratio = self._pruned_to(budget)
        start = partial(self._pruned_start, pruning_ratio)
        yield Entrant(GLOBAL_L1, f"{pruning_ratio:.3f}", latency_ratio, start, streams)

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

    def _pruned(self, pruning_ratio: float) -> Module:
        return self._pruning(pruning_ratio)[0]

    def _pruned_start(self, pruning_ratio: float) -> Module:
        module, kept = self._pruning(pruning_ratio)
        self._inheritance.settle(module, kept)
        return module

    def _pruning(self, pruning_ratio: float) -> tuple[Module, KeptOutputs]:
        return globally_pruned(self._seed, self._contest.spec, pruning_ratio, self._contest.channel_step)

    def _proposals(self, budget: float) -> list[Entrant]:
        """Let the search propose, measure what it proposes, and take the first that are in time."""
        contest, search = self._contest, self._search(budget)
        taken: list[Entrant] = []
        for _ in range(TRIES):
            for candidate in search.propose(Purpose.TRAIN, contest.sizes.trainings - len(taken)).candidates:
                latency_ratio = contest.latency_ratio(candidate)
                in_time = latency_ratio <= budget
                search.observe([contest.observation(candidate, taken=in_time, failed=not in_time)])
                if in_time:
                    taken.append(self._scbp(candidate, latency_ratio, len(taken)))
            if len(taken) == contest.sizes.trainings:
                return taken
        raise SystemExit(f"scbp: no {contest.sizes.trainings} proposals are within a latency ratio of {budget:.3f}")

    def _scbp(self, candidate: Candidate, latency_ratio: float, stream: int) -> Entrant:
        name = "/".join(f"{own:g}" for own in candidate.ratios)
        return Entrant(SCBP, name, latency_ratio, partial(self._inheritance.start, candidate), (stream,))

    def _search(self, budget: float) -> OneShotSearch:
        contest = self._contest
        superblocks = [{group.name: group.channels for group in own.groups} for own in contest.space.superblocks]
        seed_top1 = contest.ledger.payloads("seed")[str(self._random_seed)]["val_top1"]
        widths = relative_widths(contest.pool, superblocks)
        search = OneShotSearch(
            contest.pool,
            widths,
            prior_of_importance(importance_kept(contest.pool, self._inheritance.shares()), widths),
            Limits(latency_ratio=budget),
            seed_top1,
            random_seed=0,  # one spread for all, so that its structures are measured once
        )
        spread = search.propose(Purpose.MEASURE, contest.sizes.spread).candidates
        search.observe([contest.observation(own) for own in spread])
        return search

    def _trained(self, entrant: Entrant, stream: int) -> dict[str, Any]:
        contest = self._contest
        subject = f"{self._random_seed}/{entrant.method}/{entrant.name}/{stream}"

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


def _winners(trained: dict[str, list[dict[str, Any]]], budget: float) -> dict[str, Any]:
    """Choose each method's best on validation among what it trained and is in time; the fastest of equals."""
    within = {method: [run for run in own if run["latency_ratio"] <= budget] for method, own in trained.items()}
    return {
        method: max(own, key=lambda run: (run["val_top1"], -run["latency_ratio"])) for method, own in within.items()
    }


def compare(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each budget SCBP's lead over each rival on the test split, in points, paired over random seeds."""
    compared = []
    for fields in zip(*(own["budgets"] for own in rounds), strict=True):
        row = {name: fields[0][name] for name in ("multiplier", "latency_ratio")}
        for method in (SCBP, UNIFORM, GLOBAL_L1):
            row[f"{method}_test_top1"] = 100 * statistics.mean(own[method]["test_top1"] for own in fields)
        for rival in (UNIFORM, GLOBAL_L1):
            row[f"lead_over_{rival}"] = interval(
                [100 * (own[SCBP]["test_top1"] - own[rival]["test_top1"]) for own in fields]
            )
        compared.append(row)
    return compared


def interval(differences: list[float]) -> dict[str, Any]:
    """Return mean and 95 % interval by Student's t; None where one value says nothing of the spread."""
    mean, count = statistics.mean(differences), len(differences)
    half = None
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return {"points": mean, "ci95": None if half is None else [mean - half, mean + half], "each": differences}


def main() -> None:
    """Go on with every data set and random seed as far as this slice goes, and write what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["textures", "digits"], help="which data sets")
    add_common_arguments(parser, ".bench/equal_latency")
    arguments = parser.parse_args()
    sizes, own_slice = QUICK if arguments.quick else Sizes(), Slice.of(arguments)
    result: dict[str, Any] = {"machine": machine(device="local"), "sizes": asdict(sizes), "data": {}}
    with Store.open(arguments.work / "bench.sqlite") as store:
        for data in arguments.data:
            ledger = open_ledger(store, data, json.loads(json.dumps(asdict(sizes))))
            contest = Contest(data, sizes, ledger, arguments.work / data, own_slice)
            with contest.judge:
                rounds = list(_complete(contest))
            if rounds:
                result["data"][data] = {"compared": compare(rounds), "rounds": rounds}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _complete(contest: Contest) -> Iterator[dict[str, Any]]:
    for random_seed in contest.sizes.random_seeds:
        try:
            yield Round(contest, random_seed).results()
            print(f"{contest.data}, random seed {random_seed}: complete", flush=True)
        except SliceOver as over:
            print(f"{contest.data}, random seed {random_seed}: {over}", flush=True)


if __name__ == "__main__":
    main()
