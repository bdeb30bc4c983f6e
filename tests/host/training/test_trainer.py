from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.tasks.base import Split, Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training.inference import evaluate
from scbp_host.training.trainer import Recipe, TrainResult, train

RECIPE = Recipe(epochs=3, learning_rate=1e-2)


@pytest.fixture(scope="module")
def task() -> Task:
    """Digits at their own 8x8; the test split holds NaN, which would show if training looked at it."""
    digits = load_task("digits", (1, 8, 8))
    return replace(digits, held_out=Split(digits.held_out.images * float("nan"), digits.held_out.labels))


def net(random_seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16 * 36, 10)
        )


def trained(task: Task, random_seed: int, teacher: nn.Module | None = None, recipe: Recipe = RECIPE) -> nn.Module:
    module = net()
    assert isinstance(train(module, task, recipe, random_seed, teacher), TrainResult)
    return module


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_learns_digits_and_reports_each_epoch(task: Task) -> None:
    module, epochs = net(), []
    result = train(module, task, RECIPE, 0, on_epoch=lambda *epoch: epochs.append(epoch))
    assert isinstance(result, TrainResult)
    assert result.val_top1 > 0.9
    assert result.epochs == 3
    assert [epoch[:2] for epoch in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert epochs[-1][2] == result.val_top1 == pytest.approx(evaluate(module, task.validation), abs=3e-3)
    assert task.test_reads == 0


def test_the_random_seed_decides_everything_and_the_global_generator_is_put_back(task: Task) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = trained(task, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    assert same_weights(first, trained(task, 5))
    assert not same_weights(first, trained(task, 6))


def test_module_comes_back_in_eval_mode_contiguous_on_the_cpu(task: Task) -> None:
    """Another memory layout sums in another order: a module rebuilt from its files would not be the same."""
    narrow, wide = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)
    module = nn.Sequential(narrow, wide, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    train(module, task, replace(RECIPE, epochs=1), 0)
    assert not module.training
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in module.state_dict().values())


def test_a_student_learns_from_its_teacher_alone_where_the_labels_weigh_nothing(task: Task) -> None:
    teacher = trained(task, 0)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    scrambled = replace(task, train=Split(task.train.images, (task.train.labels + 1) % 10))
    student = trained(scrambled, 1, teacher, replace(RECIPE, distill_weight=1.0))
    assert evaluate(student, task.validation) > 0.8
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


class _Eavesdropper(nn.Module):
    """A teacher that notes what it is asked."""

    def __init__(self, answers: nn.Module) -> None:
        super().__init__()
        self.answers = answers
        self.heard: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.heard.append(images.clone())
        return self.answers(images)  # type: ignore[no-any-return]


def test_teacher_answers_the_very_batches_the_student_sees(task: Task) -> None:
    teacher, student = _Eavesdropper(net()), _Eavesdropper(net(1))
    train(student, task, replace(RECIPE, epochs=1), 0, teacher)
    training_batches = student.heard[: len(teacher.heard)]
    assert len(teacher.heard) == len(task.train) // RECIPE.batch_size
    assert all(torch.equal(a, b) for a, b in zip(teacher.heard, training_batches, strict=True))
    originals = {image.tobytes() for image in task.train.images}
    shifted = [image for batch in teacher.heard for image in batch.numpy() if image.tobytes() not in originals]
    assert len(shifted) > len(task.train) / 2


def test_a_loss_that_is_not_finite_is_a_failure_with_a_hint(task: Task) -> None:
    module = net()
    result = train(module, task, replace(RECIPE, learning_rate=1e30), 0)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.TRAINING_FAILED
    assert "learning_rate" in result.hint
    assert not module.training


def test_running_out_of_memory_is_a_failure(task: Task) -> None:
    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    result = train(Greedy(), task, RECIPE, 0)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.TRAINING_FAILED
    assert "80 GiB" in result.message


def test_one_image_more_than_a_batch_trains_through_a_one_pixel_batch_norm(task: Task) -> None:
    odd = replace(task, train=Split(task.train.images[:17], task.train.labels[:17]))
    module = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10)
    )
    assert isinstance(train(module, odd, Recipe(epochs=1, batch_size=16), 0), TrainResult)
