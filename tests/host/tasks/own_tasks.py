"""Tasks of a user's own, as far as scbp knows: functions named by ``own_tasks:NAME``."""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from scbp_host.tasks.custom import CustomTask
from scbp_host.tasks.metric import Metric

Shape = tuple[int, int, int]


def make_arrays(count: int, shape: Shape, random_seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images whose mean tells their class: 0 dark, 1 light."""
    labels = np.arange(count) % 2
    noise = np.random.RandomState(random_seed).randn(count, *shape)
    return (noise + 2.0 * labels[:, None, None, None] - 1.0).astype(np.float32), labels


class Bright(Dataset[tuple[torch.Tensor, int]]):
    """The same images, one by one."""

    def __init__(self, count: int, shape: Shape, random_seed: int) -> None:
        self.images, self.labels = make_arrays(count, shape, random_seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[index]), int(self.labels[index])


def arrays(input_shape: Shape) -> CustomTask:
    return CustomTask(("dark", "light"), *(make_arrays(40, input_shape, own) for own in range(3)))


def datasets(input_shape: Shape) -> CustomTask:
    return CustomTask(("dark", "light"), *(Bright(40, input_shape, own) for own in range(3)))


def loaders(input_shape: Shape) -> CustomTask:
    own = (DataLoader(Bright(40, input_shape, own), batch_size=7, shuffle=True, num_workers=0) for own in range(3))
    return CustomTask(("dark", "light"), *own)


def balanced(outputs: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean over the classes of the share found."""
    found = outputs.argmax(axis=1) == labels
    return float(np.mean([found[labels == own].mean() for own in np.unique(labels)]))


def smoothed(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, labels, label_smoothing=0.1)


def judged(input_shape: Shape) -> CustomTask:
    own = (Bright(40, input_shape, own) for own in range(3))
    return CustomTask(
        ("dark", "light"),
        *own,
        loss=smoothed,
        metric=Metric("balanced", balanced),
        augmentation=lambda images, _generator: images.clone(),
        version="1",
    )


def of_version(version: str) -> CustomTask:
    return CustomTask(("a", "b"), *(make_arrays(8, (1, 2, 2), own) for own in range(3)), version=version)


def version_one(input_shape: Shape) -> CustomTask:
    return of_version("1")


def version_two(input_shape: Shape) -> CustomTask:
    return of_version("2")


def failing(input_shape: Shape) -> CustomTask:
    raise RuntimeError("the disk is gone\nand more")


def nothing(input_shape: Shape) -> None:
    return None


def one_class(input_shape: Shape) -> CustomTask:
    return CustomTask(("all",), *(make_arrays(8, input_shape, own) for own in range(3)))


def eight_bit(input_shape: Shape) -> CustomTask:
    images, labels = make_arrays(8, input_shape, 0)
    return CustomTask(("a", "b"), *((images.astype(np.uint8), labels) for _ in range(3)))


def other_shape(input_shape: Shape) -> CustomTask:
    return CustomTask(("a", "b"), *(make_arrays(8, (1, 3, 3), own) for own in range(3)))


def uneven(input_shape: Shape) -> CustomTask:
    images, labels = make_arrays(8, input_shape, 0)
    return CustomTask(("a", "b"), *((images, labels[1:]) for _ in range(3)))


def empty(input_shape: Shape) -> CustomTask:
    train, validation, _ = (Bright(8, input_shape, own) for own in range(3))
    return CustomTask(("a", "b"), train, validation, TensorDataset(torch.zeros(0, *input_shape), torch.zeros(0)))


class Endless(IterableDataset[tuple[torch.Tensor, int]]):
    """A stream without a length."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        yield torch.zeros(1, 2, 2), 0


def endless(input_shape: Shape) -> CustomTask:
    return CustomTask(("a", "b"), DataLoader(Endless()), DataLoader(Endless()), DataLoader(Endless()))


class Broken(Bright):
    """A data set none of whose items can be read."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        raise OSError("the tape is torn")


def broken(input_shape: Shape) -> CustomTask:
    return CustomTask(("a", "b"), *(Broken(8, input_shape, own) for own in range(3)))


class Changed(Bright):
    """Its ninth example is what ``change`` makes of it."""

    def __init__(self, shape: Shape, change: Callable[[torch.Tensor, int], object]) -> None:
        super().__init__(16, shape, 0)
        self.change = change

    def __getitem__(self, index: int) -> object:
        return self.change(*super().__getitem__(index)) if index == 8 else super().__getitem__(index)


def torn(image: torch.Tensor, label: int) -> object:
    raise KeyError("frame 8")


def later(change: Callable[[torch.Tensor, int], object]) -> Callable[[Shape], CustomTask]:
    """A task that is only wrong behind its first example."""
    return lambda input_shape: CustomTask(
        ("a", "b"), Changed(input_shape, change), Bright(8, input_shape, 0), Bright(8, input_shape, 0)
    )


torn_later = later(torn)
ragged_later = later(lambda image, label: (image[:, 1:], label))
double_later = later(lambda image, label: (image.double(), label))
infinite_later = later(lambda image, label: (image / 0, label))


def of_items(change: Callable[[torch.Tensor, int], object]) -> Callable[[Shape], CustomTask]:
    class Own(Bright):
        def __getitem__(self, index: int) -> object:
            return change(*super().__getitem__(index))

    return lambda input_shape: CustomTask(("a", "b"), *(Own(8, input_shape, own) for own in range(3)))


named = of_items(lambda image, label: {"image": image, "label": label})
triples = of_items(lambda image, label: (image, label, "cat.jpg"))


def with_facts(**facts: object) -> Callable[[Shape], CustomTask]:
    def task(input_shape: Shape) -> CustomTask:
        arrays = {name: make_arrays(8, input_shape, 0) for name in ("train", "validation", "test")}
        return CustomTask(**({"class_names": ("a", "b")} | arrays | facts))

    return task


three_arrays = with_facts(train=(np.zeros(1), np.zeros(1), np.zeros(1)))
letters = with_facts(class_names="ab")
numbers = with_facts(class_names=(0, 1))
bare_metric = with_facts(metric=balanced)
no_loss = with_facts(loss="cross-entropy")
loss_of_maps = with_facts(loss=lambda outputs, labels: functional.cross_entropy(outputs, labels[:, None]))
loss_of_each = with_facts(loss=lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none"))
loss_detached = with_facts(loss=lambda outputs, labels: functional.cross_entropy(outputs.detach(), labels))
augmenting_half = with_facts(augmentation=lambda images, _generator: images[::2])
augmenting_badly = with_facts(augmentation=lambda images, _generator: images.flop())


def leaving(input_shape: Shape) -> CustomTask:
    sys.exit("not today")


word = "no function"
