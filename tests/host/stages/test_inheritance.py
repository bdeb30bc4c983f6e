from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.space.derive import derive
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.recipes import candidate_recipe
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import CANDIDATE_RECIPE, Recipe
from scbp_host.training.trainer import train

SHAPE = (1, 16, 16)
WIDTHS = (("stem.0", 8), ("down.0", 16))


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("digits", SHAPE)


@pytest.fixture(scope="module")
def seed(task: Task) -> nn.Module:
    sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
    try:
        module = build_seed(seed_spec("tiny_seed:factory", 10, SHAPE), 0)
    finally:
        sys.path.pop(0)
    train(module, task, Recipe(epochs=4, learning_rate=1e-2), 0)
    return module


def start(seed: nn.Module, task: Task, **config: object) -> nn.Module:
    spec = seed_spec("tiny_seed:factory", 10, SHAPE)
    inheritance = Inheritance(RunConfig(model=spec.factory, input_shape=SHAPE, **config), task, spec, seed)
    return inheritance.start(Candidate(spec, (0.5, 0.5), WIDTHS))


def rows(module: nn.Module, name: str) -> set[bytes]:
    return {row.numpy().tobytes() for row in module.get_parameter(name).detach()}


def test_an_inherited_network_holds_the_seeds_channels_and_a_fresh_one_none(seed: nn.Module, task: Task) -> None:
    name = "stem.0.weight"
    inherited, fresh = start(seed, task, refit=False), start(seed, task, init="from-scratch")
    assert rows(inherited, name) < rows(seed, name)
    assert not rows(fresh, name) & rows(seed, name)
    assert inherited.get_parameter(name).shape == fresh.get_parameter(name).shape


def test_the_criterion_decides_which_channels(seed: nn.Module, task: Task) -> None:
    kept = {
        criterion: rows(start(seed, task, importance=criterion, refit=False), "down.0.weight")
        for criterion in ("l1", "random")
    }
    assert kept["l1"] != kept["random"]


def test_taylor_finds_its_images(seed: nn.Module, task: Task) -> None:
    assert rows(start(seed, task, importance="taylor"), "down.0.weight")


def test_batch_norm_is_recalibrated_before_training(seed: nn.Module, task: Task) -> None:
    """What pruning alone leaves is hardly better than chance; new statistics bring much of it back."""
    spec = seed_spec("tiny_seed:factory", 10, SHAPE)
    bare = derive(Candidate(spec, (0.5, 0.5), WIDTHS), seed)
    recalibrated = start(seed, task, refit=False)
    assert evaluate(recalibrated, task.validation) > evaluate(bare, task.validation) + 0.1
    pairs = zip(bare.parameters(), recalibrated.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_refitting_brings_back_most_of_what_was_lost(seed: nn.Module, task: Task) -> None:
    recalibrated, refitted = start(seed, task, refit=False), start(seed, task)
    lost = evaluate(seed, task.validation) - evaluate(recalibrated, task.validation)
    assert lost > 0.1
    assert evaluate(refitted, task.validation) > evaluate(recalibrated, task.validation) + lost / 2


def test_the_recipe_takes_what_the_configuration_says() -> None:
    recipe = candidate_recipe(RunConfig(epochs=3, distill_temperature=2.0, distill_weight=0.25))
    assert (recipe.epochs, recipe.distill_temperature, recipe.distill_weight) == (3, 2.0, 0.25)
    assert candidate_recipe(RunConfig()) == CANDIDATE_RECIPE


def test_few_epochs_are_gentle_with_refitted_weights_and_with_no_others() -> None:
    peak = CANDIDATE_RECIPE.learning_rate
    half, twice = CANDIDATE_RECIPE.epochs // 2, CANDIDATE_RECIPE.epochs * 2
    assert candidate_recipe(RunConfig(epochs=half)).learning_rate == peak / 2
    assert candidate_recipe(RunConfig(epochs=twice)).learning_rate == peak
    assert candidate_recipe(RunConfig(epochs=half, refit=False)).learning_rate == peak
    assert candidate_recipe(RunConfig(epochs=half, init="from-scratch")).learning_rate == peak
