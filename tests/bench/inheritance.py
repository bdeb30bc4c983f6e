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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.config import RunConfig
from scbp_host.domain.outcome import Failure
from scbp_host.space.importance import CRITERIA
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.stages.space import seed_candidate
from scbp_host.store import Store
from scbp_host.tasks.base import Task
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
        self._artifacts = Artifacts(folder / str(random_seed))

    def run(self) -> dict[str, Any]:
        """Return in JSON form what is complete, accuracies in percent."""
        found: dict[str, Any] = {"random_seed": self._config.random_seed, "networks": [], "criteria": []}
        try:
            found["seed_val_top1"] = self._trained_seed["val_top1"]
            for network in self._sizes.networks:
                found["networks"].append(self._epochs_to_reach(network))
            for criterion in CRITERIA:
                found["criteria"].append(self._criterion(criterion))
        except SliceOver as over:
            print(f"{self._config.data}, random seed {self._config.random_seed}: {over}", flush=True)
        return found

    # All that takes time is made when it is needed: often nothing is left to train.

    @cached_property
    def _trained_seed(self) -> Payload:
        return self._ledger.must("seed", str(self._config.random_seed), self._train_seed)

    @cached_property
    def _task(self) -> Task:
        return load_task(self._config.data, INPUT_SHAPE)

    @cached_property
    def _space(self) -> SearchSpace:
        spec = seed_spec("resnet18", len(self._task.class_names), INPUT_SHAPE)
        return SearchSpace.uniform(spec, bin_by_stage(spec), (1.0, 0.75, 0.5, 0.25), 8)

    @cached_property
    def _source(self) -> Module:
        own = seed_candidate(self._space).structure_id
        return self._artifacts.load_module(own, self._trained_seed["weights_sha256"])

    @cached_property
    def _teacher(self) -> Module:
        return RememberingTeacher(self._source)

    def _train_seed(self) -> Payload | Failure:
        self._slice.begin("train")
        seed = seed_candidate(self._space)
        module = build_seed(seed.seed, self._config.random_seed)
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

    def _until(self, target: float, trained: Callable[[int], Payload], lengths: tuple[int, ...]) -> dict[int, float]:
        reached: dict[int, float] = {}
        for epochs in lengths:
            reached[epochs] = trained(epochs)["val_top1"]
            if reached[epochs] >= target:
                break
        return reached

    def _criterion(self, criterion: str) -> dict[str, Any]:
        epochs = self._sizes.criterion_epochs
        refitted, bare = (self._trained("quarter", epochs, importance=criterion, refit=own) for own in (True, False))
        return {"criterion": criterion, "refitted": refitted, "not_refitted": bare}

    def _trained(self, network: str, epochs: int, **changes: object) -> Payload:
        """Return top-1 before and after a training of its own, by the recipe of a run with these ``changes``."""
        config = self._config.model_copy(update={"epochs": epochs, **changes})
        subject = json.dumps([config.random_seed, network, epochs, changes], sort_keys=True)
        return self._ledger.must("train", subject, partial(self._train, config, network))

    def _train(self, config: RunConfig, network: str) -> Payload | Failure:
        self._slice.begin("train")
        candidate = self._space.candidate(NETWORKS[network])
        module = Inheritance(config, self._task, candidate.seed, self._source).start(candidate)
        untrained = 100 * evaluate(module, self._task.validation)
        teacher = self._teacher if config.distill else None
        result = train(module, self._task, candidate_recipe(config), config.random_seed, teacher)
        return result if isinstance(result, Failure) else {"untrained": untrained, "val_top1": 100 * result.val_top1}


def main() -> None:
    """Go on with every data set and random seed as far as this slice goes, and write what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "textures"], help="which data sets")
    add_common_arguments(parser, ".bench/inheritance")
    arguments = parser.parse_args()
    sizes, own_slice = QUICK if arguments.quick else Sizes(), Slice.of(arguments)
    starts: dict[str, dict[str, Any]] = {"from_scratch": FRESH, "inherited": {}}
    recipes = {name: asdict(candidate_recipe(RunConfig.model_validate(own))) for name, own in starts.items()}
    result: dict[str, Any] = {"machine": machine(), "sizes": asdict(sizes), "recipes": recipes, "aim": AIM, "data": {}}
    with Store.open(arguments.work / "bench.sqlite") as store:
        for data in arguments.data:
            ledger = open_ledger(store, data, json.loads(json.dumps({"sizes": asdict(sizes), "recipes": recipes})))
            folder = arguments.work / data
            runs = [Comparison(data, own, sizes, ledger, folder, own_slice).run() for own in sizes.random_seeds]
            begun = [own for own in runs if own["networks"]]
            result["data"][data] = {"summary": _summary(begun), "runs": begun}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [network["share"] for run in runs for network in run["networks"]]
    criteria: dict[str, list[dict[str, Any]]] = {}
    for own in (own for run in runs for own in run["criteria"]):
        criteria.setdefault(own["criterion"], []).append(own)
    return {
        "comparisons": len(shares),
        "met_the_aim": sum(own is not None and own <= AIM for own in shares),
        "never_reached": shares.count(None),
        "criteria": [_mean_of(same) for same in criteria.values()],
    }


def _mean_of(same: list[dict[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {"criterion": same[0]["criterion"], "random_seeds": len(same)}
    for start in ("refitted", "not_refitted"):
        means[start] = {key: statistics.mean(own[start][key] for own in same) for key in ("untrained", "val_top1")}
    return means


if __name__ == "__main__":
    main()
