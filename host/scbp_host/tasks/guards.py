"""The user's own code at its edges: whatever it raises or returns, the error names the task and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from scbp_host.errors import DataError, ScbpError
from scbp_host.tasks.augmentation import Augmentation
from scbp_host.tasks.metric import Loss
from scbp_host.tasks.streaming import ItemSource

Shape = tuple[int, int, int]

HINT = "docs/data.md shows a task of your own"


@contextmanager
def attributed(what: str) -> Iterator[None]:
    """Turn anything that the user's code raises into a DataError that begins with ``what``.

    Out of memory stays what it is: a training answers it with smaller parts.
    """
    try:
        yield
    except (ScbpError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise DataError(f"{what}: {_line(error)}", HINT) from error


@dataclass(frozen=True)
class GuardedItems:
    """A data set of the user's.

    Attributes:
        items: the data set.
        name: of the task and the split.
    """

    items: ItemSource
    name: str

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int, /) -> Any:
        with attributed(f"{self.name}: example {index} cannot be read"):
            return self.items[index]


@dataclass(frozen=True)
class GuardedCollate:
    """Makes a batch of the user's examples: images as the model takes them, and labels, as tensors.

    Attributes:
        collate: the user's, or torch's.
        name: of the task and the split.
        input_shape: of every image.
    """

    collate: Callable[[list[Any]], Any]
    name: str
    input_shape: Shape

    def __call__(self, examples: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (images, labels) of ``examples``; raises DataError where they are something else."""
        with attributed(f"{self.name}: examples do not make a batch"):
            batch = self.collate(examples)
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(f"{self.name}: expected examples of (image, label), got {_kind(examples[0])}", HINT)
        with attributed(f"{self.name}: expected arrays or tensors"):
            images, labels = (torch.as_tensor(own) for own in batch)
        if images.dtype != torch.float32 or images.shape[1:] != self.input_shape:
            found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape[1:])}"
            raise DataError(f"{self.name}: expected images of float32 {self.input_shape}, got {found}", HINT)
        if not torch.isfinite(images).all():
            raise DataError(f"{self.name}: expected finite numbers in every image, found NaN or infinity", HINT)
        return images, labels


@dataclass(frozen=True)
class GuardedLoss:
    """The task's loss.

    Attributes:
        loss: the user's, or cross-entropy.
        name: of the task.
    """

    loss: Loss
    name: str

    def __call__(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; raises DataError where it is none, or does not follow from the outputs."""
        on = f"the model's outputs {tuple(outputs.shape)} and labels {_described(labels)}"
        with attributed(f"{self.name}: the loss fails on {on}"):
            loss = self.loss(outputs, labels)
        if not isinstance(loss, torch.Tensor) or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise DataError(f"{self.name}: expected the mean loss over the batch, a scalar tensor, got {found}", HINT)
        if outputs.requires_grad and not loss.requires_grad:
            raise DataError(f"{self.name}: the loss has no gradient: it was detached from the model's outputs", HINT)
        return loss


@dataclass(frozen=True)
class GuardedAugmentation:
    """The task's augmentation.

    Attributes:
        vary: the user's.
        name: of the task.
    """

    vary: Augmentation
    name: str

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the varied images; raises DataError where they are no such batch."""
        with attributed(f"{self.name}: the augmentation fails on images {tuple(images.shape)}"):
            varied = self.vary(images, generator)
        if not isinstance(varied, torch.Tensor) or varied.shape != images.shape:
            found = tuple(varied.shape) if isinstance(varied, torch.Tensor) else type(varied).__name__
            raise DataError(
                f"{self.name}: expected images {tuple(images.shape)} of the augmentation, got {found}", HINT
            )
        return varied


def _described(labels: torch.Tensor) -> str:
    return f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"


def _kind(example: Any) -> str:
    return f"{len(example)} values" if isinstance(example, tuple | list) else type(example).__name__


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
