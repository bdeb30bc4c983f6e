from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from scbp_host.tasks.augmentation import shift_randomly
from scbp_host.tasks.base import Task
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


def test_digits_are_shifted_by_two_pixels_of_32(digits: Task) -> None:
    images = torch.from_numpy(digits.train.images[:32])
    augmented = digits.augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(augmented, shift_randomly(images, 2, torch.Generator().manual_seed(1)))
