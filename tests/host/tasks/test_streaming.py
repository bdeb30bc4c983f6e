from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scbp_host.errors import DataError
from scbp_host.tasks import splitting
from scbp_host.tasks.base import Examples, Split, Task
from scbp_host.tasks.datasets import load_task
from scbp_host.tasks.streaming import Stream

SHAPE = (3, 8, 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            noise = random.randint(0, 256, (9, 12, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Task, Task]:
    """One folder, held in memory and, where memory is short, streamed."""
    held = load_task(str(folder), SHAPE)
    monkeypatch.setattr(splitting, "MAX_BYTES", 4 * 3 * 8 * 10 * 40 - 1)
    return held, load_task(str(folder), SHAPE)


def splits(task: Task) -> list[Examples]:
    return [task.train, task.validation, task.held_out]


def test_what_memory_does_not_hold_is_streamed_and_the_same(both: tuple[Task, Task]) -> None:
    held, streamed = both
    assert held.split_sha256 == streamed.split_sha256
    assert held.normalization.mean == pytest.approx(streamed.normalization.mean, rel=1e-5)
    assert held.normalization.std == pytest.approx(streamed.normalization.std, rel=1e-5)
    for own, expected in zip(splits(streamed), splits(held), strict=True):
        assert isinstance(own, Stream)
        assert isinstance(expected, Split)
        assert len(own) == len(expected)
        rows = np.array([3, 0, 5])
        np.testing.assert_allclose(own.part(rows).images, expected.images[rows], atol=1e-5)
        assert own.part(rows).labels.tolist() == expected.labels[rows].tolist()


def test_parts_and_batches_are_those_of_memory(both: tuple[Task, Task]) -> None:
    held, streamed = both
    order = list(torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(6))
    for own, expected in zip(
        streamed.train.batches(order, pinned=False), held.train.batches(order, pinned=False), strict=True
    ):
        torch.testing.assert_close(own[0], expected[0], atol=1e-5, rtol=0)
        assert torch.equal(own[1], expected[1])
    parts = [list(task.train.parts(8)) for task in (streamed, held)]
    assert [len(part) for part in parts[0]] == [len(part) for part in parts[1]] == [8, 8, 4]
    for mine, wanted in zip(*parts, strict=True):
        np.testing.assert_allclose(mine.images, wanted.images, atol=1e-5)
        assert mine.labels.tolist() == wanted.labels.tolist()


def test_reading_ahead_leaves_the_global_generator_alone(both: tuple[Task, Task]) -> None:
    state = torch.get_rng_state()
    list(both[1].train.parts(8))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_is_lost_meanwhile_is_named_in_one_line(
    both: tuple[Task, Task], folder: Path, workers: int
) -> None:
    train = both[1].train
    assert isinstance(train, Stream)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"lost")
    with pytest.raises(DataError, match=r"^[^\n]*\.png: not a readable image \([^\n]*$"):
        list(Stream(train.items, train.rows, workers).parts(8))
