"""Examples that are read when they are needed, by processes that read ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, default_collate

from scbp_host.errors import DataError
from scbp_host.tasks.base import Split

# Reading processes; more would only wait for the disk.
_MOST_WORKERS = 4


class ItemSource(Protocol):
    """What torch calls a map-style dataset: item i is (image float32 (c, h, w), label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def default_workers() -> int:
    """Return how many processes read ahead."""
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Stream:
    """Examples of a data set that memory need not hold; see :class:`scbp_host.tasks.base.Examples`.

    Attributes:
        items: where they are read.
        rows: (n,), which of the items, in order.
        workers: processes that read ahead; 0 reads in this one.
        collate: makes (images, labels) of a list of items.
        hint: what to do about an item that cannot be read.
    """

    items: ItemSource
    rows: NDArray[np.int64]
    workers: int
    collate: Callable[[list[Any]], Any] = default_collate
    hint: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, rows: NDArray[np.int64]) -> Split:
        """See :class:`scbp_host.tasks.base.Examples`; read in this process."""
        images, labels = self.collate([self.items[int(row)] for row in self.rows[rows]])
        return Split(images.numpy(), labels.numpy())

    def parts(self, size: int) -> Iterator[Split]:
        """See :class:`scbp_host.tasks.base.Examples`."""
        for images, labels in self.batches(torch.split(torch.arange(len(self)), size), pinned=False):
            yield Split(images.numpy(), labels.numpy())

    def batches(self, order: Sequence[torch.Tensor], *, pinned: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See :class:`scbp_host.tasks.base.Examples`; raises DataError where an image cannot be read any more."""
        loader: DataLoader[Any] = DataLoader(
            self.items,  # type: ignore[arg-type]  # what it needs of a dataset is what ItemSource has
            batch_sampler=[self.rows[positions.numpy()].tolist() for positions in order],
            num_workers=self.workers,
            collate_fn=self.collate,
            pin_memory=pinned,
            # Of its own: the global one would be at another place after each epoch.
            generator=torch.Generator().manual_seed(0),
        )
        try:
            yield from loader
        except DataError as error:
            # From another process it arrives with that one's traceback, of which the last line is the message.
            lines = error.message.strip().splitlines()
            raise DataError(lines[-1].removeprefix(f"{DataError.__module__}.DataError: "), self.hint) from error
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # the loader's own: a process of its was killed, or shared memory is full
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"reading ahead failed: {reason}", "free memory, or give /dev/shm more") from error
