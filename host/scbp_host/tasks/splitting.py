"""From labelled pictures to a task: three fixed splits, normalised by the training images, and their hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scbp_host.errors import DataError
from scbp_host.tasks.augmentation import Augmentation
from scbp_host.tasks.base import Examples, Normalization, Split, Task
from scbp_host.tasks.streaming import Stream, default_workers

TRAIN_SHARE, VALIDATION_SHARE = 0.5, 0.2
# Of each class's training images, for a split that the data set does not bring itself.
HELD_BACK_SHARE = 0.1
# Independent of a run's random seed: runs with other seeds must stay comparable on the same test images.
SPLIT_SEED = 20
MAX_BYTES = 4 * 1024**3

# Of images that are not held in memory, so many training images give the statistics to normalise by.
STATISTICS_IMAGES = 4096

Rows = NDArray[np.int64]
Indices = tuple[Rows, Rows, Rows]


class ImageSource(Protocol):
    """Images that are read one by one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.float32]:
        """Return an image of its own, (channels, height, width) in [0, 1]."""
        ...


class Role(IntEnum):
    """What a data set itself says a picture is for."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures before they are split.

    Attributes:
        images: (n, channels, height, width) float32 in [0, 1], or read one by one where they do not fit.
        labels: (n,), indices into ``class_names``.
        class_names: in label order.
        sha256: digest of the original data.
        roles: for each picture its :class:`Role`; None where the data set brings no split of its own.
        warnings: what was left out.
    """

    images: NDArray[np.float32] | ImageSource
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    sha256: bytes
    roles: NDArray[np.int8] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Splits:
    normalization: Normalization
    train: Examples
    validation: Examples
    test: Examples


def make_task(name: str, pictures: Pictures, input_shape: tuple[int, int, int], augmentation: Augmentation) -> Task:
    """Split and normalise.

    Without roles every class is split 50/20/30. With them the splits are as given, and one that is missing is held
    back from the training images.

    Raises:
        DataError: a split comes out empty.
    """
    indices = split_rows(pictures.labels, pictures.roles)
    _check_none_empty(name, indices)
    images, labels = pictures.images, pictures.labels
    if isinstance(images, np.ndarray):
        splits = _in_memory(images, labels, indices)
    else:
        splits = _read_as_needed(images, labels, indices)
    return Task(
        name,
        pictures.class_names,
        input_shape,
        splits.train,
        splits.validation,
        splits.normalization,
        sha256([pictures.sha256, *(rows.astype("<i8").tobytes() for rows in indices)]).hex(),
        held_out=splits.test,
        augmentation=augmentation,
        warnings=pictures.warnings,
    )


def fits(count: int, input_shape: tuple[int, int, int]) -> bool:
    """Say whether ``count`` images are few and small enough to be held in memory."""
    return 4 * math.prod(input_shape) * count <= MAX_BYTES


def split_rows(labels: NDArray[np.int64], roles: NDArray[np.int8] | None) -> Indices:
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
    """Normalise images (..., channels, height, width) in place and return them."""
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


@dataclass(frozen=True)
class _Items:
    """Pictures as a map-style dataset: item i is (normalised image, label)."""

    images: ImageSource
    labels: NDArray[np.int64]
    normalization: Normalization

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]:
        image = normalized(self.images[index], self.normalization)
        return torch.from_numpy(image), int(self.labels[index])


def _in_memory(images: NDArray[np.float32], labels: NDArray[np.int64], indices: Indices) -> _Splits:
    normalization = _statistics(images[indices[0]])
    train, validation, test = (Split(normalized(images[rows], normalization), labels[rows]) for rows in indices)
    return _Splits(normalization, train, validation, test)


def _read_as_needed(images: ImageSource, labels: NDArray[np.int64], indices: Indices) -> _Splits:
    sample = np.random.RandomState(SPLIT_SEED).permutation(indices[0])[:STATISTICS_IMAGES]
    normalization = _statistics(np.stack([images[int(row)] for row in sample]))
    items = _Items(images, labels, normalization)
    hint = "mend or remove the file, and start a new run"
    train, validation, test = (Stream(items, rows, default_workers(), hint=hint) for rows in indices)
    return _Splits(normalization, train, validation, test)


def _statistics(images: NDArray[np.float32]) -> Normalization:
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)
    # A channel that never changes carries nothing; dividing by its zero deviation would make NaN of it.
    std = np.maximum(images.std(axis=(0, 2, 3), dtype=np.float64), 1e-6)
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def _check_none_empty(name: str, indices: Indices) -> None:
    for role, rows in zip(Role, indices, strict=True):
        if not len(rows):
            raise DataError(f"{name}: expected images for {role.name.lower()}, found none")
