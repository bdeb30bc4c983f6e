from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from scbp_host.tasks.base import Task, shift_randomly
from scbp_host.tasks.datasets import load_task

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits", SHAPE)


def test_every_digit_is_in_exactly_one_split(digits: Task) -> None:
    sizes = digits.sizes
    assert sizes.train + sizes.validation + sizes.test == len(load_digits().target) == 1797
    splits = [digits.train, digits.validation, digits.held_out]
    pictures = {split.images[i].tobytes() for split in splits for i in range(len(split))}
    assert len(pictures) == len({image.tobytes() for image in load_digits().images})


def test_splits_are_stratified_50_20_30(digits: Task) -> None:
    totals = np.bincount(load_digits().target)
    for split, share in ((digits.train, 0.5), (digits.validation, 0.2), (digits.held_out, 0.3)):
        assert np.bincount(split.labels) == pytest.approx(share * totals, abs=1.0)


def test_labels_belong_to_their_images() -> None:
    original = {image.tobytes(): label for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    # At 8x8 nothing is resized, so the original pixels can be read back.
    small = load_task("digits", (1, 8, 8))
    for split in (small.train, small.validation, small.held_out):
        pixels = np.rint((split.images * small.normalization.std[0] + small.normalization.mean[0]) * 16)
        rows = pixels.reshape(len(split), 64).astype(np.float64)
        assert [original[row.tobytes()] for row in rows] == split.labels.tolist()


def test_the_split_never_changes(digits: Task) -> None:
    """The published figures are about these images: a new hash is a new benchmark."""
    assert digits.split_sha256 == "e2996a9cee5a2dab482aa8a131f8fc829a13fbba0f35c3ba8fb25f866399b70b"
    assert load_task("digits", (1, 8, 8)).split_sha256 == digits.split_sha256


def test_images_are_normalised_by_the_training_split_alone(digits: Task) -> None:
    assert digits.train.images.dtype == np.float32
    assert digits.train.images.shape[1:] == SHAPE
    assert digits.train.images.mean(axis=(0, 2, 3)) == pytest.approx(0.0, abs=1e-4)
    assert digits.train.images.std(axis=(0, 2, 3)) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(digits.held_out.images.mean())) > 1e-4


def test_reading_the_test_split_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = load_task("digits", (1, 8, 8))
    assert (task.sizes.test, task.test_reads) == (540, 0)
    with caplog.at_level(logging.INFO, logger="scbp_host.tasks.base"):
        assert len(task.test()) == 540
    assert task.test_reads == 1
    assert "test split read" in caplog.text


def test_augmentation_is_drawn_from_its_generator_alone(digits: Task) -> None:
    images = torch.from_numpy(digits.train.images[:32])
    before = images.clone()
    first, again, other = (digits.augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_shift_moves_whole_pixels_by_at_most_the_limit_each_image_its_own() -> None:
    grid = torch.stack(torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij"))
    images = grid.expand(200, 2, 6, 8)  # every pixel carries its own row and column
    moved = shift_randomly(images, 2, torch.Generator().manual_seed(0))
    offsets = moved[:, :, 2, 2] - images[:, :, 2, 2]
    assert moved.shape == images.shape
    assert {tuple(offset) for offset in offsets.tolist()} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    rows = (torch.arange(6.0) + offsets[:, :1]).clamp(0, 5)
    columns = (torch.arange(8.0) + offsets[:, 1:]).clamp(0, 7)
    assert torch.equal(moved[:, 0], rows[:, :, None].expand(-1, 6, 8))
    assert torch.equal(moved[:, 1], columns[:, None, :].expand(-1, 6, 8))
