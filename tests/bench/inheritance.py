"""What inheriting the seed's weights saves: epochs to reach a given accuracy, against fresh weights.

python tests/bench/inheritance.py [--quick] [--data digits textures] --json docs/bench/inheritance.json

For each random seed a ResNet-18 is trained, and narrower networks twice: from fresh weights on labels alone, as the
paper does (`--from-scratch --no-distill`), and as a run does by default: inherited, refitted, distilled. Every number
of epochs is a training of its own with the whole learning-rate cycle. The accuracy to reach is that of the longest
training from fresh weights, less half a point. The importance criteria are compared with and without refit, before
training and after two epochs. Accuracies are of the validation split.

What is done is kept: run it again, with `--seconds` as often as need be. The JSON holds what is complete.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.space.importance import CRITERIA
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.stages.space import seed_candidate
from scbp_host.store import Store
from scbp_host.tasks.datasets import load_task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.trainer import train

INPUT_SHAPE = (3, 32, 32)
NETWORKS = {
    "quarter": (0.25, 0.25, 0.25, 0.25),
    "mixed": (0.25, 0.5, 0.25, 0.25),
    "tapered": (0.75, 0.5, 0.25, 0.25),
}
FRESH = {"init": "from-scratch", "distill": False}
TOLERANCE_POINTS = 0.5
AIM = 1 / 3


@dataclass(frozen=True)
class Sizes:
    """What is trained on each data set.

    Attributes:
        random_seeds: one seed network each.
        networks: which of NETWORKS.
        fresh_epochs: lengths of trainings from fresh weights; the last one's accuracy is to be reached.
        inherited_epochs: lengths of trainings from inherited weights, as many as it takes.
        criterion_epochs: length of the training that criteria are compared after.
    """

    random_seeds: tuple[int, ...] = (0, 1, 2)
    networks: tuple[str, ...] = tuple(NETWORKS)
    fresh_epochs: tuple[int, ...] = (4, 8, 12)
    inherited_epochs: tuple[int, ...] = (1, 2, 3, 4, 8, 12)
    criterion_epochs: int = 2


QUICK = Sizes((0,), ("quarter",), (3,), (1, 2), 1)


class Comparison:
    """One trained seed network, and what becomes of its narrower networks.

    Args:
        data: which data set.
        random_seed: of the seed network and of all trainings.
        sizes: what to train.
        ledger: keeps what is done.
        folder: where the seed network is kept.
        own_slice: says whether there is time for another training.
    """

    def __init__(
        self, data: str, random_seed: int, sizes: Sizes, ledger: Ledger, folder: Path, own_slice: Slice
    ) -> None:
        self._config = RunConfig(data=data, random_seed=random_seed)
        self._sizes, self._ledger, self._slice = sizes, ledger, own_slice
        self._task = load_task(data, INPUT_SHAPE)
        self._spec = seed_spec("resnet18", len(self._task.class_names), INPUT_SHAPE)
        self._space = SearchSpace.uniform(self._spec, bin_by_stage(self._spec), (1.0, 0.75, 0.5, 0.25), 8)
        self._artifacts = Artifacts(folder / str(random_seed))

    def run(self) -> dict[str, Any]:
        """Return everything in JSON form, accuracies in percent; raises SliceOver."""
        seed = self._ledger.must("seed", str(self._config.random_seed), self._train_seed)
        own = seed_candidate(self._space).structure_id
        self._source = self._artifacts.load_module(own, seed["weights_sha256"])
        self._teacher = RememberingTeacher(self._source)
        return {
            "random_seed": self._config.random_seed,
            "seed_val_top1": seed["val_top1"],
            "networks": [self._epochs_to_reach(name) for name in self._sizes.networks],
            "criteria": [self._criterion(criterion, refit) for criterion in CRITERIA for refit in (True, False)],
        }

    def _train_seed(self) -> Payload | Failure:
        self._slice.begin("train")
        seed, module = seed_candidate(self._space), build_seed(self._spec, self._config.random_seed)
        result = train(module, self._task, seed_recipe(self._config), self._config.random_seed)
        if isinstance(result, Failure):
            return result
        return {"val_top1": 100 * result.val_top1, "weights_sha256": self._artifacts.save_module(seed, module)}

    def _epochs_to_reach(self, network: str) -> dict[str, Any]:
        """Train longer and longer, from fresh and from inherited weights, until the target is reached."""
        target = self._trained(network, self._sizes.fresh_epochs[-1], **FRESH)["val_top1"] - TOLERANCE_POINTS
        fresh = self._until(target, partial(self._trained, network, **FRESH), self._sizes.fresh_epochs)
        inherited = self._until(target, partial(self._trained, network), self._sizes.inherited_epochs)
        reached = max(inherited.values()) >= target
        return {
            "network": network,
            "target_val_top1": target,
            "from_scratch": fresh,
            "inherited": inherited,
            "share": max(inherited) / max(fresh) if reached else None,
        }

    def _until(self, target: float, trained: Any, lengths: tuple[int, ...]) -> dict[int, float]:
        reached: dict[int, float] = {}
        for epochs in lengths:
            reached[epochs] = trained(epochs)["val_top1"]
            if reached[epochs] >= target:
                break
        return reached

    def _criterion(self, criterion: str, refit: bool) -> dict[str, Any]:
        trained = self._trained("quarter", self._sizes.criterion_epochs, importance=criterion, refit=refit)
        return {"criterion": criterion, "refit": refit, **trained}

    def _trained(self, network: str, epochs: int, **changes: object) -> Payload:
        """Return top-1 before and after a training of its own, by the recipe of a run with these ``changes``."""
        config = self._config.model_copy(update={"epochs": epochs, **changes})
        subject = json.dumps([config.random_seed, network, epochs, changes], sort_keys=True)
        return self._ledger.must("train", subject, partial(self._train, config, self._candidate(network)))

    def _train(self, config: RunConfig, candidate: Candidate) -> Payload | Failure:
        self._slice.begin("train")
        module = Inheritance(config, self._task, self._spec, self._source).start(candidate)
        untrained = 100 * evaluate(module, self._task.validation)
        teacher = self._teacher if config.distill else None
        result = train(module, self._task, candidate_recipe(config), config.random_seed, teacher)
        return result if isinstance(result, Failure) else {"untrained": untrained, "val_top1": 100 * result.val_top1}

    def _candidate(self, network: str) -> Candidate:
        return self._space.candidate(NETWORKS[network])


def main() -> None:
    """Go on with every data set and random seed as far as this slice goes, and write what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "textures"], help="which data sets")
    add_common_arguments(parser, ".bench/inheritance")
    arguments = parser.parse_args()
    sizes, own_slice = QUICK if arguments.quick else Sizes(), Slice.of(arguments)
    recipes = {name: asdict(candidate_recipe(RunConfig.model_validate(own))) for name, own in _STARTS.items()}
    result: dict[str, Any] = {"machine": machine(), "sizes": asdict(sizes), "recipes": recipes, "aim": AIM, "data": {}}
    with Store.open(arguments.work / "bench.sqlite") as store:
        for data in arguments.data:
            facts = json.loads(json.dumps({"sizes": asdict(sizes), "recipes": recipes}))
            ledger = open_ledger(store, data, facts)
            comparison = partial(Comparison, data, sizes=sizes, ledger=ledger, folder=arguments.work / data)
            runs = list(_complete(data, sizes, partial(comparison, own_slice=own_slice)))
            if runs:
                result["data"][data] = {"summary": _summary(runs), "runs": runs}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


_STARTS: dict[str, dict[str, Any]] = {"from_scratch": FRESH, "inherited": {}}


def _complete(data: str, sizes: Sizes, comparison: Any) -> Iterator[dict[str, Any]]:
    for random_seed in sizes.random_seeds:
        try:
            yield comparison(random_seed=random_seed).run()
            print(f"{data}, random seed {random_seed}: complete", flush=True)
        except SliceOver as over:
            print(f"{data}, random seed {random_seed}: {over}", flush=True)
            return


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [network["share"] for run in runs for network in run["networks"]]
    # What never got there took more epochs than any that did.
    ranked = sorted(float("inf") if own is None else own for own in shares)
    middle = statistics.median_high(ranked)
    return {
        "comparisons": len(shares),
        "met_the_aim": sum(own is not None and own <= AIM for own in shares),
        "never_reached": shares.count(None),
        "median_share": None if middle == float("inf") else middle,
        "criteria": [_mean_of(same) for same in zip(*(run["criteria"] for run in runs), strict=True)],
    }


def _mean_of(same: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    means = {key: statistics.mean(own[key] for own in same) for key in ("untrained", "val_top1")}
    return {"criterion": same[0]["criterion"], "refit": same[0]["refit"], **means}


if __name__ == "__main__":
    main()
