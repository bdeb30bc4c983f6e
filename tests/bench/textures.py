"""What capacity is worth on the procedural textures: ResNet-18 against its uniform quarter-width, on the test split.

python tests/bench/textures.py [--quick] --json docs/bench/textures.json

Three figures for each random seed: the seed network, the quarter from random weights by the seed's own recipe, and the
quarter as a run makes its candidates: inheriting the seed's weights, distilled from it, by the candidates' recipe.
`--random-seeds` trains some only, and keeps what the file says of the others.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from pathlib import Path
from typing import Any

from scbp_host.config import RunConfig
from scbp_host.space.initial import from_scratch
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import Recipe
from scbp_host.training.trainer import TrainResult, train

INPUT_SHAPE = (3, 32, 32)
RATIO, CHANNEL_STEP = 0.25, 8
AIM_POINTS = 5.0


def main() -> None:
    """Train the three networks for each random seed and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="one random seed instead of three")
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0, 1, 2], help="which")
    arguments = parser.parse_args()
    runs = {run["random_seed"]: run for run in _known(arguments.json)}
    for random_seed in arguments.random_seeds[: 1 if arguments.quick else None]:
        runs[random_seed] = compare(random_seed)
        print(json.dumps(runs[random_seed]), flush=True)
        _write(arguments.json, [runs[own] for own in sorted(runs)])


def compare(random_seed: int) -> dict[str, Any]:
    """Train seed and quarters, and return their figures in percent of the test split."""
    task = load_task("textures", INPUT_SHAPE)
    spec = seed_spec("resnet18", len(task.class_names), INPUT_SHAPE)
    space = SearchSpace.uniform(spec, bin_by_stage(spec), (RATIO,), CHANNEL_STEP)
    quarter = space.candidate((RATIO,) * len(space.superblocks))
    config = RunConfig(data="textures", random_seed=random_seed)
    seed = build_seed(spec, random_seed)
    figures = {"random_seed": random_seed, "split_sha256": task.split_sha256}
    figures |= _trained("seed", seed, task, seed_recipe(config), random_seed)
    scratch = from_scratch(quarter, random_seed)
    figures |= _trained("quarter_from_scratch", scratch, task, seed_recipe(config), random_seed)
    inherited = Inheritance(config, task, spec, seed).start(quarter)
    return figures | _trained("quarter_inherited", inherited, task, candidate_recipe(config), random_seed, seed)


def _trained(
    name: str, module: Module, task: Task, recipe: Recipe, random_seed: int, teacher: Module | None = None
) -> dict[str, Any]:
    result = train(module, task, recipe, random_seed, None if teacher is None else RememberingTeacher(teacher))
    assert isinstance(result, TrainResult), result
    return {
        name: {
            "test_top1": 100 * evaluate(module, task.held_out),
            "train_top1": 100 * evaluate(module, task.train),
            "epochs": result.epochs,
            "seconds": round(result.seconds, 1),
        }
    }


def _known(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["runs"]) if path.exists() else []


def _write(path: Path, runs: list[dict[str, Any]]) -> None:
    gaps = {
        name: [run["seed"]["test_top1"] - run[name]["test_top1"] for run in runs]
        for name in ("quarter_from_scratch", "quarter_inherited")
    }
    result = {
        "machine": {"machine": platform.machine(), "python": platform.python_version()},
        "runs": runs,
        "mean_seed_test_top1": statistics.mean(run["seed"]["test_top1"] for run in runs),
        "points_lost": {name: {"mean": statistics.mean(own), "least": min(own)} for name, own in gaps.items()},
        "aim_points": AIM_POINTS,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
