from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from scbp_host.tasks.base import Split
from scbp_host.tasks.streaming import Stream
from scbp_host.training.feeding import RESIDENT_SHARE, Feed, Prefetched, Resident, feed

CPU = torch.device("cpu")


@pytest.fixture
def split() -> Split:
    images = np.arange(20 * 3, dtype=np.float32).reshape(20, 3, 1, 1)
    return Split(images, np.arange(20, dtype=np.int64))


@pytest.fixture(params=[Resident, Prefetched])
def either(request: pytest.FixtureRequest, split: Split) -> Feed:
    made: Feed = request.param(split, CPU)
    return made


def test_batches_come_in_order_with_their_labels(either: Feed, split: Split) -> None:
    order = list(torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(6))
    got = list(either.batches(order))
    assert [labels.tolist() for _, labels in got] == [rows.tolist() for rows in order]
    for images, labels in got:
        assert torch.equal(images, torch.from_numpy(split.images)[labels])


def test_no_batches_are_no_batches(either: Feed) -> None:
    assert list(either.batches([])) == []


def test_an_epoch_that_is_abandoned_leaves_no_thread(split: Split) -> None:
    batches = Prefetched(split, CPU).batches(list(torch.arange(20).split(2)))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [own for own in threading.enumerate() if own.name.startswith("prefetch")]


class Witness:
    """A data set whose labels say which thread its process was forked from: 1 for a pool's."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]:
        return torch.zeros(1, 1, 1), int(threading.current_thread().name.startswith("prefetch"))


def test_reading_processes_are_not_forked_from_the_prefetching_thread() -> None:
    """One that is ends with exit code 1, and now and then the DataLoader sees that and raises."""
    stream = Stream(Witness(), np.arange(4), workers=1)
    for _, labels in Prefetched(stream, CPU).batches(list(torch.arange(4).split(1))):
        assert labels.tolist() == [0]


@pytest.mark.parametrize(("spare", "expected"), [(1.01, Resident), (0.99, Prefetched)])
def test_what_fits_is_resident(
    split: Split, monkeypatch: pytest.MonkeyPatch, spare: float, expected: type[Feed]
) -> None:
    room = spare * split.images.nbytes / RESIDENT_SHARE
    monkeypatch.setattr("scbp_host.training.feeding.free_bytes", lambda _device: room)
    assert isinstance(feed(split, CPU), expected)


def test_on_the_cpu_nothing_is_copied(split: Split) -> None:
    assert isinstance(feed(split, CPU), Resident)
