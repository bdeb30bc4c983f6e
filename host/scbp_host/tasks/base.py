"""A task: labelled images with three fixed splits; the test split is handed out only on request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from scbp_host.tasks.augmentation import Augmentation

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Split in memory.

    Attributes:
        images: float32 (n, channels, height, width), normalised.
        labels: int64 (n,), indices into the task's ``class_names``.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


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
        warnings: what was left out, each with a remedy.
        test_reads: how often :meth:`test` was called.
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    train: Split
    validation: Split
    normalization: Normalization
    split_sha256: str
    held_out: Split = field(repr=False)
    augmentation: Augmentation
    warnings: tuple[str, ...] = ()
    test_reads: int = field(default=0, init=False)

    @property
    def sizes(self) -> Sizes:
        """How many images each split has; reading it does not touch the test images."""
        return Sizes(len(self.train), len(self.validation), len(self.held_out))

    def test(self) -> Split:
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
