"""How training images come to the device: all of them once, or batch by batch where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch

from scbp_host.tasks.base import Split
from scbp_host.training.placement import free_bytes

# Of the memory that is free before the training, the images may take this share; activations need the rest.
RESIDENT_SHARE = 0.4

Batch = tuple[torch.Tensor, torch.Tensor]


class Feed(Protocol):
    """Hands out the batches of an epoch."""

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """Yield (images, labels) on the device for each int64 tensor of rows in ``order``."""
        ...


def feed(split: Split, device: torch.device) -> Feed:
    """Return the fastest feed that ``device`` has memory for."""
    if split.images.nbytes <= RESIDENT_SHARE * free_bytes(device):
        return Resident(split, device)
    return Prefetched(split, device)


class Resident:
    """The whole split lies on the device: a batch is an index, and nothing crosses the bus."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self._images = torch.from_numpy(split.images).to(device)
        self._labels = torch.from_numpy(split.labels).to(device)

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """See :class:`Feed`."""
        for rows in order:
            own = rows.to(self._images.device)
            yield self._images[own], self._labels[own]


class Prefetched:
    """The split stays in the host's memory; a thread gathers the next batch, pinned, while the device computes."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self._images = torch.from_numpy(split.images)
        self._labels = torch.from_numpy(split.labels)
        self._device = device

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """See :class:`Feed`."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
            ahead = [thread.submit(self._gather, rows) for rows in order[:1]]
            for position in range(len(order)):
                images, labels = ahead.pop().result()
                ahead += [thread.submit(self._gather, rows) for rows in order[position + 1 : position + 2]]
                # From pinned memory the copy runs beside the host: it is queued, not waited for.
                yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def _gather(self, rows: torch.Tensor) -> Batch:
        images, labels = self._images[rows], self._labels[rows]
        return (images.pin_memory(), labels.pin_memory()) if self._device.type == "cuda" else (images, labels)
