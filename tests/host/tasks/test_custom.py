from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scbp_host.errors import DataError
from scbp_host.tasks.base import Split
from scbp_host.tasks.datasets import load_task
from scbp_host.tasks.guards import GuardedLoss
from scbp_host.tasks.metric import Metric
from scbp_host.tasks.streaming import Stream

SHAPE = (2, 4, 5)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.mark.parametrize(("name", "kind"), [("arrays", Split), ("datasets", Stream), ("loaders", Stream)])
def test_arrays_datasets_and_loaders_are_the_same_task(name: str, kind: type) -> None:
    task, arrays = load_task(f"own_tasks:{name}", SHAPE), load_task("own_tasks:arrays", SHAPE)
    assert (task.class_names, task.input_shape) == (("dark", "light"), SHAPE)
    assert (task.sizes.train, task.sizes.validation, task.sizes.test) == (40, 40, 40)
    assert isinstance(task.train, kind)
    assert task.split_sha256 == arrays.split_sha256
    for own, expected in zip(
        (task.train, task.validation, task.held_out), (arrays.train, arrays.validation, arrays.held_out), strict=True
    ):
        everything, wanted = own.part(np.arange(40)), expected.part(np.arange(40))
        assert np.array_equal(everything.images, wanted.images)
        assert np.array_equal(everything.labels, wanted.labels)


def test_loss_metric_and_augmentation_are_the_tasks_own() -> None:
    task = load_task("own_tasks:judged", SHAPE)
    assert task.metric.name == "balanced"
    outputs = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert task.metric(outputs, np.array([0, 0, 0, 1])) == 1.0
    assert task.metric(outputs, np.array([0, 0, 1, 1])) == 0.75
    assert task.metric(outputs, np.array([0, 1, 1, 1])) == pytest.approx((1.0 + 1 / 3) / 2)
    certain = torch.tensor([[30.0, 0.0]])
    assert float(task.loss(certain, torch.tensor([0]))) == pytest.approx(0.05 * 30, rel=1e-3)
    images = torch.rand(4, *SHAPE)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(task.augment(images, generator), images)
    flipped = load_task("own_tasks:judged", SHAPE, "crop-flip").augment(images, generator)
    assert not torch.equal(flipped, images)


def test_a_version_stands_for_the_content() -> None:
    one, again, two = (load_task(f"own_tasks:version_{own}", (1, 2, 2)) for own in ("one", "one", "two"))
    assert one.split_sha256 == again.split_sha256
    assert one.split_sha256 != two.split_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "cannot be imported: AttributeError"),
        ("word", "expected a function, got str"),
        ("failing", "failed: RuntimeError: the disk is gone$"),
        ("nothing", "expected a CustomTask, got NoneType"),
        ("one_class", "expected at least 2 class names, got 1"),
        ("eight_bit", r"train: expected images of float32 \(2, 4, 5\), got uint8"),
        ("other_shape", r"got float32 \(1, 3, 3\)"),
        ("uneven", "8 images do not belong to 7 labels"),
        ("empty", "test: expected examples, found none"),
        ("endless", "expected arrays, or a dataset with a length and items, got Endless"),
        ("broken", "train: example 0 cannot be read: OSError: the tape is torn$"),
        ("torn_later", "train: example 8 cannot be read: KeyError: 'frame 8'$"),
        ("ragged_later", "train: examples do not make a batch: RuntimeError"),
        ("infinite_later", "train: expected finite numbers in every image"),
        ("named", r"train: expected examples of \(image, label\), got dict$"),
        ("triples", r"train: expected examples of \(image, label\), got 3 values$"),
        ("three_arrays", "train: expected a pair of arrays, images and labels, got 3 values"),
        ("letters", "expected class names, a sequence of strings, got 'ab'"),
        ("numbers", "expected class names, a sequence of strings"),
        ("bare_metric", r"expected Metric\(name, score\), got function"),
        ("no_loss", "expected a loss, a function, got str"),
        ("leaving", "failed: SystemExit: not today"),
    ],
)
def test_what_is_no_task_is_named(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_task(f"own_tasks:{name}", SHAPE)
    assert "own_tasks" in caught.value.message
    assert "docs/data.md" in caught.value.hint


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="No module named 'no_such_module'"):
        load_task("no_such_module:function", SHAPE)


@pytest.mark.parametrize(
    ("source", "message"),
    [("def task(:", "SyntaxError"), ("raise RuntimeError('no licence')", "RuntimeError: no licence$")],
)
def test_a_module_that_cannot_be_run_is_named(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unrunnable.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=f"'unrunnable:task' cannot be imported: {message}"):
        load_task("unrunnable:task", SHAPE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss_of_maps", r"the loss fails on the model's outputs \(8, 2\) and labels int64 \(8,\): RuntimeError"),
        ("loss_of_each", r"expected the mean loss over the batch, a scalar tensor, got shape \(8,\)$"),
        ("loss_detached", "the loss has no gradient"),
    ],
)
def test_a_loss_that_cannot_be_learned_by_is_named(name: str, message: str) -> None:
    loss = load_task(f"own_tasks:{name}", SHAPE).loss
    with pytest.raises(DataError, match=f"own_tasks:{name}: {message}"):
        loss(torch.zeros(8, 2, requires_grad=True), torch.zeros(8, dtype=torch.int64))


def test_out_of_memory_in_a_loss_is_left_for_the_training_to_answer() -> None:
    def greedy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("so many boxes")

    with pytest.raises(torch.OutOfMemoryError):
        GuardedLoss(greedy, "boxes")(torch.zeros(8, 2), torch.zeros(8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("augmenting_half", r"expected images \(8, 2, 4, 5\) of the augmentation, got \(4, 2, 4, 5\)"),
        ("augmenting_badly", r"the augmentation fails on images \(8, 2, 4, 5\): AttributeError"),
    ],
)
def test_an_augmentation_that_makes_something_else_is_named(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(f"own_tasks:{name}", SHAPE).augment(torch.zeros(8, *SHAPE), torch.Generator())


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_a_metric_that_gives_no_share_is_an_error(score: float) -> None:
    metric = Metric("wrong", lambda _outputs, _labels: score)
    with pytest.raises(DataError, match=r"metric 'wrong': expected a share in \[0, 1\]"):
        metric(np.zeros((1, 2)), np.zeros(1))


def test_a_metric_that_fails_is_named_with_what_it_was_given() -> None:
    def torchlike(outputs: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
        return outputs.argmax(dim=1)

    with pytest.raises(
        DataError, match=r"metric 'torch' fails on outputs float64 \(3, 2\) .*\(3,\): TypeError"
    ) as caught:
        Metric("torch", torchlike)(np.zeros((3, 2)), np.zeros(3))
    assert "numpy" in caught.value.hint
