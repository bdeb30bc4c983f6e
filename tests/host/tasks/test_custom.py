from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scbp_host.errors import DataError
from scbp_host.tasks.base import Split
from scbp_host.tasks.datasets import load_task
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
        ("broken", "train: the first example cannot be read: OSError: the tape is torn"),
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


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
def test_a_metric_that_gives_no_share_is_an_error(score: float) -> None:
    metric = Metric("wrong", lambda _outputs, _labels: score)
    with pytest.raises(DataError, match=r"metric 'wrong': expected a share in \[0, 1\]"):
        metric(np.zeros((1, 2)), np.zeros(1))
