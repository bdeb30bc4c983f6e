"""How training images come to the device: all of them once, or batch by batch where they do not fit or are streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch

from scbp_host.tasks.base import Examples, Split
from scbp_host.training.placement import free_bytes

# Of the memory that is free before the training, the images may take this share; activations need the rest.
RESIDENT_SHARE = 0.4

Batch = tuple[torch.Tensor, torch.Tensor]


class Feed(Protocol):
    """Hands out the batches of an epoch."""

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """Yield (images, labels) on the device for each int64 tensor of rows in ``order``."""
        ...


def feed(examples: Examples, device: torch.device) -> Feed:
    """Return the fastest feed that ``device`` has memory for."""
    if isinstance(examples, Split) and examples.images.nbytes <= RESIDENT_SHARE * free_bytes(device):
        return Resident(examples, device)
    return Prefetched(examples, device)


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
    """The examples stay where they are; a thread gets the next batch, pinned, while the device computes."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._examples = examples
        self._device = device

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """See :class:`Feed`."""
        batches = self._examples.batches(order, pinned=self._device.type == "cuda")
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
            # The first in this thread, where a DataLoader then forks its processes: one forked from a pool's thread
            # ends with exit code 1, which the DataLoader takes for a crash.
            batch = next(batches, None)
            while batch is not None:
                ahead = thread.submit(next, batches, None)
                # From pinned memory the copy runs beside the host: it is queued, not waited for.
                yield batch[0].to(self._device, non_blocking=True), batch[1].to(self._device, non_blocking=True)
                batch = ahead.result()
