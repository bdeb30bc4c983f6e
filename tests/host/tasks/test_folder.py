from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scbp_host.errors import DataError, UnknownNameError, UsageError
from scbp_host.tasks.base import Split, Task
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
def test_a_corrupt_image_is_named_counted_and_left_out(folder: Path, content: bytes | None) -> None:
    path = folder / "dog" / "7.png"
    if content is None:  # cut off in the middle of its pixels
        noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:200]
    path.write_bytes(content)
    task = load_task(str(folder), SHAPE)
    (warning,) = task.warnings
    assert "1 of 30 images are unreadable" in warning
    assert "dog/7.png: not a readable image" in warning
    path.unlink()
    without = load_task(str(folder), SHAPE)
    assert (without.split_sha256, without.warnings) == (task.split_sha256, ())
    assert np.array_equal(without.held_out.images, task.held_out.images)


def test_more_corrupt_images_than_allowed_are_an_error(folder: Path) -> None:
    for number in range(7):
        (folder / "dog" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"7 of 30 images .*dog/0\.png.*; and 2 more\); at most 1 may be") as caught:
        load_task(str(folder), SHAPE)
    assert "--max-corrupt-images 7" in caught.value.hint
    with pytest.raises(DataError, match="at most 6"):
        load_task(str(folder), SHAPE, max_corrupt=6)
    assert len(load_task(str(folder), SHAPE, max_corrupt=7).train) == 5 + 6
    with pytest.raises(DataError, match="at most 0"):
        load_task(str(folder), SHAPE, max_corrupt=0)


def test_a_class_that_corrupt_images_leave_too_small_is_an_error(folder: Path) -> None:
    for number in range(6):
        (folder / "cat" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="class 'cat' has 4 images"):
        load_task(str(folder), SHAPE, max_corrupt=10)


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


def layout(folder: Path, *parts: str) -> Path:
    """Split the folder's images into ``parts`` by their numbers, in turn; every image is still there once."""
    for part in parts:
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
    for name in ("cat", "dog"):
        for file in sorted((folder / name).iterdir()):
            file.rename(folder / parts[int(file.stem) % len(parts)] / name / file.name)
        (folder / name).rmdir()
    return folder


def numbers(task: Task, split: Split) -> list[list[int]]:
    """Return for each class the numbers of its images, which their green tells."""
    green = split.images[:, 1, 0, 0] * task.normalization.std[1] + task.normalization.mean[1]
    found = np.rint(green * 25.5).astype(int)
    return [sorted(found[split.labels == label].tolist()) for label in range(2)]


def test_a_split_of_the_folders_own_is_kept(folder: Path) -> None:
    task = load_task(str(layout(folder, "train", "val", "train", "test")), SHAPE)
    assert task.class_names == ("cat", "dog")
    assert numbers(task, task.train) == [list(range(0, 10, 2)), list(range(0, 20, 2))]
    for split, start in ((task.validation, 1), (task.held_out, 3)):
        assert numbers(task, split) == [list(range(start, 10, 4)), list(range(start, 20, 4))]


@pytest.mark.parametrize(
    ("given", "own"), [("validation", "validation"), ("valid", "validation"), ("test", "held_out")]
)
def test_the_split_that_a_folder_lacks_is_held_back_from_its_training_images(
    folder: Path, given: str, own: str
) -> None:
    task = load_task(str(layout(folder, "train", given)), SHAPE)
    assert numbers(task, getattr(task, own)) == [list(range(1, 10, 2)), list(range(1, 20, 2))]
    other = task.held_out if own == "validation" else task.validation
    assert np.bincount(other.labels).tolist() == [1, 1]
    both = [sorted(a + b) for a, b in zip(numbers(task, task.train), numbers(task, other), strict=True)]
    assert both == [list(range(0, 10, 2)), list(range(0, 20, 2))]


def test_a_class_that_training_does_not_know_is_named(folder: Path) -> None:
    layout(folder, "train", "val")
    (folder / "val" / "dog").rename(folder / "val" / "wolf")
    with pytest.raises(DataError, match="class 'wolf' is not among the training images' cat, dog"):
        load_task(str(folder), SHAPE)


def test_a_split_without_images_is_named(folder: Path) -> None:
    layout(folder, "train", "train", "val")
    for file in (folder / "val").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="val: expected images, found none"):
        load_task(str(folder), SHAPE)


def test_classes_may_be_called_train_and_test(folder: Path) -> None:
    (folder / "cat").rename(folder / "train")
    (folder / "dog").rename(folder / "tram")
    assert load_task(str(folder), SHAPE).class_names == ("train", "tram")


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"no data set 'digit' \(did you mean 'digits'\?\).*textures"):
        load_task("digit", SHAPE)
    with pytest.raises(UnknownNameError, match=r"no data set 'cifar1O' \(did you mean 'cifar10'\?\)"):
        load_task("cifar1O:/data", SHAPE)


def test_channels_are_grey_or_rgb() -> None:
    with pytest.raises(UsageError, match="expected 1 or 3 channels, got 4"):
        load_task("digits", (4, 8, 8))
