from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scbp_host.errors import DataError, UnknownNameError, UsageError
from scbp_host.tasks import datasets
from scbp_host.tasks.datasets import load_task

SHAPE = (3, 8, 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 10 and 20 images, of one colour each: red tells the class, green the image's number."""
    for label, (name, count) in enumerate([("cat", 10), ("dog", 20)]):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            colour = (100 * label + 50, 10 * number, 7)
            Image.new("RGB", (12, 9), colour).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_folder_of_images_is_a_task(folder: Path) -> None:
    task = load_task(str(folder), SHAPE)
    assert task.class_names == ("cat", "dog")
    assert (task.sizes.train, task.sizes.validation, task.sizes.test) == (15, 6, 9)
    assert task.train.images.shape == (15, *SHAPE)
    assert np.bincount(task.held_out.labels).tolist() == [3, 6]
    for split in (task.train, task.validation, task.held_out):
        red = split.images[:, 0, 0, 0] * task.normalization.std[0] + task.normalization.mean[0]
        assert np.rint(red * 255).astype(int).tolist() == [100 * label + 50 for label in split.labels]


def test_a_constant_channel_does_not_become_nan(folder: Path) -> None:
    task = load_task(str(folder), SHAPE)
    assert np.isfinite(task.train.images).all()
    assert task.train.images[:, 2] == pytest.approx(0.0, abs=1.0)


def test_split_hash_follows_content_names_and_nothing_else(folder: Path) -> None:
    before = load_task(str(folder), SHAPE).split_sha256
    assert load_task(str(folder), (1, 4, 4)).split_sha256 == before
    moved = folder.rename(folder.parent / "elsewhere")
    assert load_task(str(moved), SHAPE).split_sha256 == before
    Image.new("RGB", (12, 9), (1, 2, 3)).save(moved / "cat" / "0.png")
    changed = load_task(str(moved), SHAPE).split_sha256
    assert changed != before
    (moved / "cat").rename(moved / "bat")
    assert load_task(str(moved), SHAPE).split_sha256 not in (before, changed)


def test_grey_input(folder: Path) -> None:
    assert load_task(str(folder), (1, 8, 8)).train.images.shape == (15, 1, 8, 8)


@pytest.mark.parametrize("content", [b"not an image", b"", None])
def test_a_corrupt_image_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "dog" / "7.png"
    if content is None:  # cut off in the middle of its pixels
        noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:200]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"dog/7\.png: not a readable image") as caught:
        load_task(str(folder), SHAPE)
    assert caught.value.hint


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such folder") as caught:
        load_task(str(tmp_path / "gone"), SHAPE)
    assert "one subfolder of images for each class" in caught.value.hint


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_task(str(folder / "cat" / "0.png"), SHAPE)


def test_folder_without_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 2 classes, found 0"):
        load_task(str(tmp_path), SHAPE)


def test_class_with_too_few_images_is_named(folder: Path) -> None:
    for number in range(4, 10):
        (folder / "cat" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="class 'cat' has 4 images, expected at least 5"):
        load_task(str(folder), SHAPE)


def test_more_than_memory_should_hold_is_refused_before_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_BYTES", 4 * 3 * 8 * 10 * 30 - 1)
    with pytest.raises(DataError, match="30 images"):
        load_task(str(folder), SHAPE)


def test_unknown_name_lists_digits() -> None:
    with pytest.raises(UnknownNameError, match=r"no data set 'digit' \(did you mean 'digits'\?\)"):
        load_task("digit", SHAPE)


def test_channels_are_grey_or_rgb() -> None:
    with pytest.raises(UsageError, match="expected 1 or 3 channels, got 4"):
        load_task("digits", (4, 8, 8))
