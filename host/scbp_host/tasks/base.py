"""A task: labelled images with three fixed splits, of which the test split is handed out only on request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_log = logging.getLogger(__name__)

# Images are shifted by up to this share of their smaller side: 2 pixels of 32.
_SHIFT_SHARE = 1 / 16


@dataclass(frozen=True)
class Split:
    """Images and their labels.

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
    """A classification problem with its data in memory.

    Attributes:
        name: ``digits`` or the folder the images came from.
        class_names: in label order.
        input_shape: (channels, height, width) of one image.
        train: what models learn from.
        validation: what candidates are selected by.
        normalization: what the images were normalised with; the deployed model's caller needs it too.
        split_sha256: hash over the original data and the index arrays of the three splits.
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
        """Shift every image by its own random whole number of pixels, edges repeated.

        Args:
            images: (n, channels, height, width), on any device; stays as it is.
            generator: a CPU generator; two equal ones give equal batches.
        """
        return shift_randomly(images, max(1, round(min(self.input_shape[1:]) * _SHIFT_SHARE)), generator)


def shift_randomly(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``images`` (n, c, h, w), each shifted by (dy, dx) drawn from [-most, most], edges repeated."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    offsets = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    # Indexing (image, row, column) in channels-last order moves whole pixels.
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
