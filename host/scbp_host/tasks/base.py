"""A task: images with three fixed splits, loss and metric; the test split is handed out only on request."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scbp_host.tasks.augmentation import Augmentation
from scbp_host.tasks.classification import TOP1
from scbp_host.tasks.metric import Loss, Metric

_log = logging.getLogger(__name__)


class Examples(Protocol):
    """Images with their labels, in an order that never changes: all in memory (:class:`Split`), or read as needed."""

    def __len__(self) -> int: ...

    def part(self, rows: NDArray[np.int64]) -> Split:
        """Return the examples at ``rows`` (n,), in memory."""
        ...

    def parts(self, size: int) -> Iterator[Split]:
        """Yield all examples in order, at most ``size`` at a time, each part in memory."""
        ...

    def batches(self, order: Sequence[torch.Tensor], *, pinned: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) for each int64 tensor of rows in ``order``.

        Args:
            order: which examples make each batch.
            pinned: in memory from which a GPU copies on its own.
        """
        ...


@dataclass(frozen=True)
class Split:
    """Examples in memory.

    Attributes:
        images: float32 (n, channels, height, width), normalised.
        labels: int64 (n,), indices into the task's ``class_names``; of a user's own task whatever its loss takes.
    """

    images: NDArray[np.float32]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: NDArray[np.int64]) -> Split:
        """See :class:`Examples`."""
        return Split(self.images[rows], self.labels[rows])

    def parts(self, size: int) -> Iterator[Split]:
        """See :class:`Examples`; the parts are views."""
        for start in range(0, len(self), size):
            yield Split(self.images[start : start + size], self.labels[start : start + size])

    def batches(self, order: Sequence[torch.Tensor], *, pinned: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See :class:`Examples`."""
        images, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        for rows in order:
            batch = images[rows], labels[rows]
            yield (batch[0].pin_memory(), batch[1].pin_memory()) if pinned else batch


@dataclass(frozen=True)
class Normalization:
    """Per-channel statistics of the training images' values in [0, 1]; a model's input is ``(value - mean) / std``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Sizes:
    """Images in each split."""

    train: int
    validation: int
    test: int


@dataclass
class Task:
    """What a model is for.

    Attributes:
        name: what ``--data`` named.
        class_names: in the order of the model's outputs.
        input_shape: (channels, height, width) of one image.
        train: what models learn from.
        validation: what candidates are selected by.
        normalization: what the images were normalised with; the deployed model's caller needs it too.
        split_sha256: hash over the original data and the index arrays of the three splits.
        augmentation: how training images are varied.
        loss: what training makes smaller.
        metric: what candidates are selected by.
        warnings: what was left out, each with a remedy.
        test_reads: how often :meth:`test` was called.
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    train: Examples
    validation: Examples
    normalization: Normalization
    split_sha256: str
    held_out: Examples = field(repr=False)
    augmentation: Augmentation
    loss: Loss = functional.cross_entropy
    metric: Metric = TOP1
    warnings: tuple[str, ...] = ()
    test_reads: int = field(default=0, init=False)

    @property
    def sizes(self) -> Sizes:
        """How many images each split has; reading it does not touch the test images."""
        return Sizes(len(self.train), len(self.validation), len(self.held_out))

    def first(self, count: int) -> NDArray[np.float32]:
        """Return the first validation images, at most ``count``: (n, channels, height, width)."""
        return self.validation.part(np.arange(min(count, len(self.validation)))).images

    def test(self) -> Examples:
        """Hand out the test split, and count and log that: selection must never look at it."""
        self.test_reads += 1
        _log.info("task %s: test split read (%d)", self.name, self.test_reads)
        return self.held_out

    def augment(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Vary every training image by itself.

        Args:
            images: (n, channels, height, width), on any device; stays as it is.
            generator: a CPU generator; two equal ones give equal batches.
        """
        return self.augmentation(images, generator)
