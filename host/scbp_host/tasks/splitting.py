"""From labelled pictures to a task: three fixed splits, normalised by the training images, and their hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from scbp_host.errors import DataError
from scbp_host.tasks.augmentation import Augmentation
from scbp_host.tasks.base import Normalization, Split, Task

TRAIN_SHARE, VALIDATION_SHARE = 0.5, 0.2
# Of each class's training images, for a split that the data set does not bring itself.
HELD_BACK_SHARE = 0.1
# Independent of a run's random seed: runs with other seeds must stay comparable on the same test images.
SPLIT_SEED = 20
MAX_BYTES = 4 * 1024**3

Rows = NDArray[np.int64]


class Role(IntEnum):
    """What a data set itself says a picture is for."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures before they are split.

    Attributes:
        images: (n, channels, height, width) in [0, 1].
        labels: (n,), indices into ``class_names``.
        class_names: in label order.
        sha256: digest of the original data.
        roles: for each picture its :class:`Role`; None where the data set brings no split of its own.
        warnings: what was left out.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    sha256: bytes
    roles: NDArray[np.int8] | None = None
    warnings: tuple[str, ...] = ()


def make_task(name: str, pictures: Pictures, input_shape: tuple[int, int, int], augmentation: Augmentation) -> Task:
    """Split and normalise.

    Without roles every class is split 50/20/30. With them the splits are as given, and one that is missing is held
    back from the training images.

    Raises:
        DataError: a split comes out empty.
    """
    indices = split_rows(pictures.labels, pictures.roles)
    _check_none_empty(name, indices)
    normalization = _statistics(pictures.images[indices[0]])
    splits = [Split(normalized(pictures.images[rows], normalization), pictures.labels[rows]) for rows in indices]
    return Task(
        name,
        pictures.class_names,
        input_shape,
        splits[0],
        splits[1],
        normalization,
        sha256([pictures.sha256, *(rows.astype("<i8").tobytes() for rows in indices)]).hex(),
        held_out=splits[2],
        augmentation=augmentation,
        warnings=pictures.warnings,
    )


def check_size(name: str, count: int, input_shape: tuple[int, int, int]) -> None:
    """Raise DataError where ``count`` images take more memory than should be used."""
    needed_bytes = 4 * math.prod(input_shape) * count
    if needed_bytes > MAX_BYTES:
        gib = 1024**3
        needs = f"{name}: {count} images at {input_shape} take {needed_bytes / gib:.1f} GiB"
        raise DataError(f"{needs}; at most {MAX_BYTES / gib:g}", "a smaller --input-shape")


def split_rows(labels: NDArray[np.int64], roles: NDArray[np.int8] | None) -> tuple[Rows, Rows, Rows]:
    """Return sorted rows of the train, validation and test images."""
    everything = np.arange(len(labels), dtype=np.int64)
    if roles is None:
        train, validation, test = _stratified(labels, everything, TRAIN_SHARE, VALIDATION_SHARE)
        return train, validation, test
    train, validation, test = (everything[roles == role] for role in Role)
    if not len(validation):
        validation, train = _stratified(labels, train, HELD_BACK_SHARE)
    if not len(test):
        test, train = _stratified(labels, train, HELD_BACK_SHARE)
    return train, validation, test


def normalized(images: NDArray[np.float32], normalization: Normalization) -> NDArray[np.float32]:
    """Normalise images (n, channels, height, width) in place and return them."""
    images -= np.array(normalization.mean, dtype=np.float32)[:, None, None]
    images /= np.array(normalization.std, dtype=np.float32)[:, None, None]
    return images


def sha256(parts: Iterable[bytes]) -> bytes:
    """Return the digest of ``parts``, in which ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _stratified(labels: NDArray[np.int64], rows: Rows, *shares: float) -> list[Rows]:
    """Split ``rows`` class by class: each part gets its share and one image at least, a last one gets the rest."""
    # RandomState's stream is frozen by numpy's compatibility policy; Generator's is not.
    random = np.random.RandomState(SPLIT_SEED)
    parts: list[list[Rows]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels[rows]):
        shuffled = random.permutation(rows[labels[rows] == label])
        counts = [max(1, round(share * len(shuffled))) for share in shares]
        for part, own in zip(parts, np.split(shuffled, np.cumsum(counts)), strict=True):
            part.append(own)
    # Of no rows at all, every part is empty.
    return [np.sort(np.concatenate([rows[:0], *part])) for part in parts]


def _statistics(images: NDArray[np.float32]) -> Normalization:
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)
    # A channel that never changes carries nothing; dividing by its zero deviation would make NaN of it.
    std = np.maximum(images.std(axis=(0, 2, 3), dtype=np.float64), 1e-6)
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def _check_none_empty(name: str, indices: tuple[Rows, Rows, Rows]) -> None:
    for role, rows in zip(Role, indices, strict=True):
        if not len(rows):
            raise DataError(f"{name}: expected images for {role.name.lower()}, found none")
