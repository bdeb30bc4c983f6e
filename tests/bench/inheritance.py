"""What inheriting the seed's weights saves: epochs to reach a given accuracy, against fresh weights.

python tests/bench/inheritance.py [--quick] [--data digits] [--random-seeds 0 1 2] --json docs/bench/inheritance.json

For each random seed a ResNet-18 is trained, and narrower networks twice: from fresh weights on labels alone, as the
paper does, and from inherited weights with distillation, as a run does. Every number of epochs is a training of its own
with the whole learning-rate cycle. The accuracy to reach is that of the longest training from fresh weights, less half
a point. The importance criteria are compared after 0, 1 and 2 epochs. Accuracies are of the validation split.

Other data and other random seeds that the file knows stay in it, so that a long benchmark can be run in slices.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.space.importance import CRITERIA
from scbp_host.space.initial import from_scratch
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.inheritance import Inheritance
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import CANDIDATE_RECIPE, SEED_RECIPE
from scbp_host.training.trainer import TrainResult, train

INPUT_SHAPE = (3, 32, 32)
RATIOS = {"half": (0.5, 0.5, 0.5, 0.5), "tapered": (0.75, 0.5, 0.25, 0.25), "quarter": (0.25, 0.25, 0.25, 0.25)}
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16)
SHORT = (1, 2)
TOLERANCE_POINTS = 0.5
AIM = 1 / 3

Start = Callable[[], Module]


def main() -> None:
    """Compare for each random seed and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="one random seed, the smallest network, 4 epochs at most")
    parser.add_argument("--data", default="digits", help="digits, textures or whatever --data of a run takes")
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0, 1, 2], help="which")
    arguments = parser.parse_args()
    runs = _known(arguments.json)
    for random_seed in arguments.random_seeds[: 1 if arguments.quick else None]:
        runs = [own for own in runs if (own["data"], own["random_seed"]) != (arguments.data, random_seed)]
        runs.append(Comparison(arguments.data, random_seed, quick=arguments.quick).run())
        _write(arguments.json, sorted(runs, key=lambda own: (own["data"], own["random_seed"])))
        print(json.dumps(runs[-1]), flush=True)


class Comparison:
    """One trained seed, and what becomes of its narrower networks."""

    def __init__(self, data: str, random_seed: int, *, quick: bool) -> None:
        self.data, self.random_seed = data, random_seed
        self.task: Task = load_task(data, INPUT_SHAPE)
        self.spec: SeedSpec = seed_spec("resnet18", len(self.task.class_names), INPUT_SHAPE)
        self.epochs = tuple(own for own in EPOCHS if own <= 4) if quick else EPOCHS
        self.ratios = {"quarter": RATIOS["quarter"]} if quick else RATIOS
        self.source = build_seed(self.spec, random_seed)

    def run(self) -> dict[str, Any]:
        """Return everything in JSON form, accuracies in percent."""
        seed = train(self.source, self.task, replace(SEED_RECIPE, epochs=self.epochs[-1]), self.random_seed)
        assert isinstance(seed, TrainResult), seed
        self.teacher = RememberingTeacher(self.source)
        return {
            "data": self.data,
            "random_seed": self.random_seed,
            "seed_val_top1": 100 * seed.val_top1,
            "networks": [self._epochs_to_reach(name, self._candidate(own)) for name, own in self.ratios.items()],
            "criteria": [self._criterion(name) for name in CRITERIA],
        }

    def _epochs_to_reach(self, name: str, candidate: Candidate) -> dict[str, Any]:
        fresh = partial(from_scratch, candidate, self.random_seed)
        inherited = partial(self._inheritance().start, candidate)
        longest = self._trained(fresh, self.epochs[-1], None)
        target = longest - TOLERANCE_POINTS
        scratch = self._until(target, fresh, None) or {self.epochs[-1]: longest}
        own = self._until(target, inherited, self.teacher)
        reached = max(own.values()) >= target
        return {
            "network": name,
            "target_val_top1": target,
            "from_scratch": {"epochs": max(scratch), "val_top1": scratch},
            "inherited": {"epochs": max(own) if reached else None, "val_top1": own},
            "share": max(own) / max(scratch) if reached else None,
        }

    def _until(self, target: float, start: Start, teacher: Module | None) -> dict[int, float]:
        """Train longer and longer until the target is reached; return the accuracy by epochs."""
        reached: dict[int, float] = {}
        for epochs in self.epochs:
            reached[epochs] = self._trained(start, epochs, teacher)
            if reached[epochs] >= target:
                break
        return reached

    def _criterion(self, criterion: str) -> dict[str, Any]:
        figures: dict[str, Any] = {"criterion": criterion}
        for name, ratios in self.ratios.items():
            start = partial(self._inheritance(criterion).start, self._candidate(ratios))
            untrained = 100 * evaluate(start(), self.task.validation)
            figures[name] = [untrained, *(self._trained(start, own, self.teacher) for own in SHORT)]
        return figures

    def _trained(self, start: Start, epochs: int, teacher: Module | None) -> float:
        module = start()
        result = train(module, self.task, replace(CANDIDATE_RECIPE, epochs=epochs), self.random_seed, teacher)
        assert isinstance(result, TrainResult), result
        return 100 * result.val_top1

    def _inheritance(self, criterion: str = "l1") -> Inheritance:
        config = RunConfig.model_validate({"importance": criterion, "random_seed": self.random_seed})
        return Inheritance(config, self.task, self.spec, self.source)

    def _candidate(self, ratios: tuple[float, ...]) -> Candidate:
        return SearchSpace.uniform(self.spec, bin_by_stage(self.spec), (1.0, 0.75, 0.5, 0.25), 8).candidate(ratios)


def _known(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["runs"]) if path.exists() else []


def _write(path: Path, runs: list[dict[str, Any]]) -> None:
    result = {
        "machine": {"machine": platform.machine(), "python": platform.python_version()},
        "tolerance_points": TOLERANCE_POINTS,
        "aim": AIM,
        "summary": {data: _summary([own for own in runs if own["data"] == data]) for data in {r["data"] for r in runs}},
        "runs": runs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    networks = [own for run in runs for own in run["networks"]]
    shares = [own["share"] for own in networks]
    reached = [share for share in shares if share is not None]
    names = [own["network"] for own in runs[0]["networks"]]
    criteria = {own["criterion"] for run in runs for own in run["criteria"]}
    return {
        "epochs_as_a_share": {
            "median": statistics.median(reached) if reached else None,
            "largest": max(reached) if reached else None,
            "never_reached": len(shares) - len(reached),
            "trainings": len(shares),
            "met_the_aim": sum(share <= AIM for share in reached),
        },
        "criteria": {
            criterion: {
                name: [statistics.mean(own) for own in zip(*_of(runs, criterion, name), strict=True)] for name in names
            }
            for criterion in sorted(criteria)
        },
    }


def _of(runs: list[dict[str, Any]], criterion: str, network: str) -> list[list[float]]:
    return [own[network] for run in runs for own in run["criteria"] if own["criterion"] == criterion]


if __name__ == "__main__":
    main()
