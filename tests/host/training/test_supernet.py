from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.space.slices import Carving, carve
from scbp_host.tasks.base import Task
from scbp_host.tasks.classification import top1
from scbp_host.tasks.datasets import load_task
from scbp_host.tasks.metric import Metric
from scbp_host.tasks.streaming import Stream
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import Recipe
from scbp_host.training.supernet import RANDOM_PARTS, Sandwich, SharedPart, estimate_top1, train_supernet
from scbp_host.training.trainer import TrainResult, train

SPEC = SeedSpec("a:test", 10, (1, 8, 8))
WIDTHS = (16, 8, 4)
RECIPE = Recipe(epochs=6, learning_rate=1e-2, distill_temperature=1.0)


def candidate(first: int, second: int) -> Candidate:
    return Candidate(SPEC, (first / 16, second / 16), (("0", first), ("3", second)))


POOL = [candidate(first, second) for first, second in itertools.product(WIDTHS, WIDTHS)]
NARROWEST = POOL[-1]


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("digits", (1, 8, 8))


@pytest.fixture(scope="module")
def seed(task: Task) -> nn.Module:
    """A trained seed: two convolutions of 16 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10),
        )  # fmt: skip
    assert isinstance(train(module, task, RECIPE, 0), TrainResult)
    return module


def part(own: Candidate, source: nn.Module) -> Carving:
    return carve(own, source)


def slimmable(
    source: nn.Module, task: Task, recipe: Recipe = RECIPE, random_seed: int = 0, checkpoint: Path | None = None,
    stop_after: int | None = None,
) -> nn.Module:  # fmt: skip
    """Train a copy of ``source``; ``stop_after`` so many epochs it is interrupted."""
    module = copy.deepcopy(source)

    def on_epoch(epoch: int, _epochs: int, _val_top1: float) -> None:
        if epoch == stop_after:
            raise KeyboardInterrupt

    result = train_supernet(
        module,
        task,
        recipe,
        random_seed,
        part(NARROWEST, source),
        len(POOL),
        lambda index: part(POOL[index], source),
        on_epoch,
        checkpoint,
    )
    assert isinstance(result, TrainResult)
    return module


@pytest.fixture(scope="module")
def supernet(seed: nn.Module, task: Task) -> nn.Module:
    return slimmable(seed, task)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


def test_a_part_computes_what_the_derived_network_computes(seed: nn.Module, task: Task) -> None:
    images = torch.from_numpy(task.train.images[:32])
    derived = part(candidate(8, 4), seed).module
    with torch.no_grad():
        torch.manual_seed(1)
        shared = SharedPart(part(candidate(8, 4), seed))(seed, images)
        torch.manual_seed(1)
        torch.testing.assert_close(shared, derived.train()(images), rtol=0, atol=0)


def test_a_part_holds_no_weights_of_its_own(seed: nn.Module) -> None:
    own = part(NARROWEST, seed)
    SharedPart(own)
    assert {parameter.device.type for parameter in own.module.parameters()} == {"meta"}


def test_a_step_on_a_part_changes_its_own_channels_and_no_other(seed: nn.Module, task: Task) -> None:
    shared, own = copy.deepcopy(seed), part(candidate(8, 4), seed)
    images = torch.from_numpy(task.train.images[:32])
    SharedPart(own)(shared, images).square().sum().backward()
    for name, parameter in shared.named_parameters():
        inside = torch.zeros_like(parameter)
        inside_part = own.slices[name](inside.requires_grad_())
        inside_part.sum().backward()
        assert inside.grad is not None
        assert parameter.grad is not None
        assert torch.all(parameter.grad[inside.grad == 0] == 0), name
    touched = shared[3].weight.grad.abs().sum((1, 2, 3)) > 0
    assert touched.sum() == 4


def test_every_step_trains_the_widest_the_narrowest_and_two_drawn(seed: nn.Module, task: Task) -> None:
    drawn: list[int] = []

    def other(index: int) -> Carving:
        drawn.append(index)
        return part(POOL[index], seed)

    shared = copy.deepcopy(seed).train()
    images, labels = torch.from_numpy(task.train.images[:32]), torch.from_numpy(task.train.labels[:32])
    torch.manual_seed(2)
    sandwich = Sandwich(part(NARROWEST, seed), len(POOL), other, RECIPE)
    sandwich(shared, images, labels).backward()
    assert len(drawn) == len(set(drawn)) <= RANDOM_PARTS
    for _ in range(40):
        sandwich(shared, images, labels)
    assert sorted(drawn) == list(range(len(POOL))), "each is made once, and all have their turn"


def test_the_widest_learns_from_the_labels_alone(seed: nn.Module, task: Task) -> None:
    """Inplace distillation: the answers that the others learn from carry no gradient back."""
    images, labels = torch.from_numpy(task.train.images[:32]), torch.from_numpy(task.train.labels[:32])
    recipe = Recipe(epochs=1, distill_weight=1.0)
    shared = copy.deepcopy(seed).eval()
    sandwich = Sandwich(part(NARROWEST, seed), 1, lambda _: part(NARROWEST, seed), recipe)
    sandwich(shared, images, labels).backward()
    outside = shared[3].weight.grad.clone()
    shared.zero_grad()
    nn.functional.cross_entropy(shared(images), labels).backward()
    kept = part(NARROWEST, seed).slices["3.weight"].axes[0]
    assert kept is not None
    others = [row for row in range(16) if row not in kept.tolist()]
    torch.testing.assert_close(outside[others], shared[3].weight.grad[others])


def test_without_distillation_all_learn_by_the_tasks_own_loss(seed: nn.Module, task: Task) -> None:
    images, labels = torch.from_numpy(task.train.images[:4]), torch.from_numpy(task.train.labels[:4])
    recipe = Recipe(epochs=1, distill_weight=0.0)
    narrowest = part(NARROWEST, seed)
    sandwich = Sandwich(narrowest, 1, lambda _: narrowest, recipe, lambda outputs, _: 0 * outputs.sum() + 2.5)
    networks = 1 + 1 + RANDOM_PARTS
    assert sandwich(copy.deepcopy(seed).eval(), images, labels).item() == pytest.approx(2.5 * networks)


def test_an_estimate_reads_a_stream_and_is_the_tasks_own_metric(seed: nn.Module, task: Task) -> None:
    items = TensorDataset(torch.from_numpy(task.train.images), torch.from_numpy(task.train.labels))
    streamed = Stream(items, np.arange(len(items)), workers=0)
    own = replace(task, train=streamed, metric=Metric("half", lambda outputs, labels: top1(outputs, labels) / 2))
    estimate = estimate_top1(part(NARROWEST, seed), seed, task)
    assert estimate_top1(part(NARROWEST, seed), seed, own) == estimate / 2


def test_the_training_makes_the_narrowest_far_better_than_slicing_the_seed(
    seed: nn.Module, supernet: nn.Module, task: Task
) -> None:
    sliced = estimate_top1(part(NARROWEST, seed), seed, task)
    slimmed = estimate_top1(part(NARROWEST, seed), supernet, task)
    assert slimmed > sliced + 0.2
    assert evaluate(supernet, task.validation) > evaluate(seed, task.validation) - 0.05


def test_an_estimate_has_batch_norm_statistics_of_its_own(supernet: nn.Module, seed: nn.Module, task: Task) -> None:
    own = part(NARROWEST, seed)
    state = supernet.state_dict()
    stale = part(NARROWEST, seed).module
    stale.load_state_dict({name: take(state[name]) for name, take in own.slices.items()})
    estimate = estimate_top1(own, supernet, task)
    assert estimate > evaluate(stale, task.validation) + 0.1
    # The statistics are what is right: those of all training images, taken at once, come to the same.
    stale.load_state_dict({name: take(state[name]) for name, take in own.slices.items()})
    for norm in (stale[1], stale[4]):
        norm.momentum = 1.0
    stale.train()
    stale[8].p = 0.0
    with torch.no_grad():
        for _ in range(2):
            stale(torch.from_numpy(task.train.images))
    assert estimate == pytest.approx(evaluate(stale, task.validation), abs=0.01)


def test_an_estimate_changes_nothing(supernet: nn.Module, seed: nn.Module, task: Task) -> None:
    before = weights(supernet)
    first = estimate_top1(part(POOL[4], seed), supernet, task)
    assert estimate_top1(part(POOL[4], seed), supernet, task) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.state_dict().items())


def test_one_random_seed_gives_one_supernet(supernet: nn.Module, seed: nn.Module, task: Task) -> None:
    assert same(slimmable(seed, task), supernet)
    assert not same(slimmable(seed, task, random_seed=1), supernet)


def test_an_interrupted_training_comes_to_the_same(
    supernet: nn.Module, seed: nn.Module, task: Task, tmp_path: Path
) -> None:
    """The sub-networks drawn after the interruption are those that would have been drawn without it."""
    checkpoint = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        slimmable(seed, task, checkpoint=checkpoint, stop_after=2)
    assert same(slimmable(seed, task, checkpoint=checkpoint), supernet)
