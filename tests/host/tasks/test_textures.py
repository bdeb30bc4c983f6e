from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from scbp_host.tasks import textures
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task


def test_the_images_are_the_same_bits_on_every_machine() -> None:
    """Published figures are about these images: another hash needs another VERSION."""
    images, labels = textures.make_textures()
    assert images.shape == (textures.CLASSES * textures.IMAGES_PER_CLASS, 3, textures.SIZE, textures.SIZE)
    assert np.bincount(labels).tolist() == [textures.IMAGES_PER_CLASS] * textures.CLASSES
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "28fb6249a76ff53d3d748cb62fb4605c8069a14b07bbe8780b88b85cab242551"


def test_noise_and_texture_have_their_deviation_and_are_rarely_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "CLASSES", 4)
    both = textures.make_textures()[0].astype(np.float64)
    assert both.mean() == pytest.approx(textures._MIDDLE, abs=1.0)
    assert both.std() == pytest.approx(np.hypot(textures._TEXTURE_LEVELS, textures._NOISE_LEVELS), rel=0.03)
    assert np.isin(both, [0.0, 255.0]).mean() < 0.05
    monkeypatch.setattr(textures, "_NOISE_LEVELS", 0)
    assert textures.make_textures()[0].std() == pytest.approx(textures._TEXTURE_LEVELS, rel=0.03)


def neighbours(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each image how every colour goes with every colour of a pixel at most 2 away: (n, features)."""
    inner = images[:, :, 2:-2, 2:-2]
    moved = [np.roll(images, (-y, -x), (2, 3))[:, :, 2:-2, 2:-2] for y in range(3) for x in range(-2, 3)]
    return np.concatenate([np.einsum("nahw,nbhw->nab", inner, own).reshape(len(images), -1) for own in moved], axis=1)


def colours(images: NDArray[np.float32]) -> NDArray[np.float64]:
    return images.mean(axis=(2, 3), dtype=np.float64)


def told_apart(task: Task, features: Callable[[NDArray[np.float32]], NDArray[np.float64]]) -> float:
    """Return the share of test images whose class a linear discriminant tells by ``features``."""
    discriminant = LinearDiscriminantAnalysis().fit(features(task.train.images), task.train.labels)
    return float(discriminant.score(features(task.held_out.images), task.held_out.labels))


def test_what_tells_a_class_is_how_pixels_go_with_their_neighbours_and_not_their_mean() -> None:
    task = load_task("textures", (3, 32, 32))
    assert task.split_sha256 == "6a257e46ce18478e0ea10fe5aeadddb2f80076e07c6c1d4400736b08050d6b7e"
    assert (task.sizes.train, task.sizes.validation, task.sizes.test) == (1920, 768, 1152)
    assert told_apart(task, neighbours) > 0.9
    assert told_apart(task, colours) < 0.2


def test_textures_take_another_shape() -> None:
    assert load_task("textures", (1, 16, 24)).train.images.shape == (1920, 1, 16, 24)
