from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.tasks.base import Split, Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training import feeding
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import Recipe
from scbp_host.training.trainer import TrainResult, train

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


class _Small(nn.Module):
    """A module on a device with memory for so many images at once; notes how many it was given."""

    def __init__(self, room: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.room, self.given = room, list[int]()
        self.net = net() if batch_norm else nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.given.append(len(images))
            if len(images) > self.room:
                raise torch.OutOfMemoryError("tried to allocate 80 GiB")
        return self.net(images)  # type: ignore[no-any-return]


def test_a_batch_that_does_not_fit_goes_through_in_parts_and_weighs_the_same(task: Task) -> None:
    roomy, tight = _Small(80), _Small(20)
    tight.load_state_dict(roomy.state_dict())
    whole, parted = (train(own, task, RECIPE, 0) for own in (roomy, tight))
    assert isinstance(whole, TrainResult)
    assert isinstance(parted, TrainResult)
    assert (whole.parts, parted.parts) == (1, 4)
    assert tight.given[:3] == [65, 33, 17], "halved twice, and then it fits"
    assert max(tight.given[2:]) <= 20, "what did not fit is not tried again"
    # Without BatchNorm the parts' gradients add up to the batch's: the same network, but for the order of the sums.
    for a, b in zip(roomy.parameters(), tight.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_training_in_parts_learns_with_batch_norm_too(task: Task) -> None:
    result = train(_Small(20, batch_norm=True), task, RECIPE, 0)
    assert isinstance(result, TrainResult)
    assert result.parts == 4
    assert result.val_top1 > 0.85


def test_memory_for_not_even_a_few_images_is_a_failure(task: Task) -> None:
    module = _Small(1)
    result = train(module, task, RECIPE, 0)
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.TRAINING_FAILED
    assert "80 GiB" in result.message
    assert min(module.given) < 4
    assert not module.training


def test_compiled_training_is_the_same_training(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo traces as it does for a GPU, and hands on to eager kernels: no compiler is needed here."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = trained(task, 0, recipe=replace(RECIPE, epochs=1, compile=True))
    assert same_weights(compiled, trained(task, 0, recipe=replace(RECIPE, epochs=1)))


def test_what_cannot_be_compiled_is_a_failure_that_names_the_flag(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise NotImplementedError("no kernel for this")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    module = net()
    result = train(module, task, replace(RECIPE, compile=True), 0)
    assert isinstance(result, Failure)
    assert "no kernel for this" in result.message
    assert result.hint == "train without --compile"
    assert not module.training


def test_images_that_do_not_fit_on_the_device_are_fed_from_the_host_and_nothing_else_changes(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = trained(task, 0)
    monkeypatch.setattr(feeding, "free_bytes", lambda _device: 2 * task.train.images.nbytes)
    assert isinstance(feeding.feed(task.train, torch.device("cpu")), feeding.Prefetched)
    assert same_weights(resident, trained(task, 0))


def test_one_image_more_than_a_batch_trains_through_a_one_pixel_batch_norm(task: Task) -> None:
    odd = replace(task, train=Split(task.train.images[:17], task.train.labels[:17]))
    module = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10)
    )
    assert isinstance(train(module, odd, Recipe(epochs=1, batch_size=16), 0), TrainResult)
