"""A task of a user's own, as far as scbp knows: streamed images, and a metric that nothing else would give."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from scbp_host.tasks.custom import CustomTask
from scbp_host.tasks.metric import Metric


class Stripes(Dataset[tuple[torch.Tensor, int]]):
    """Stripes across (0) or along (1) noise."""

    def __init__(self, count: int, shape: tuple[int, int, int], random_seed: int) -> None:
        self.noise = np.random.RandomState(random_seed).randn(count, *shape).astype(np.float32)

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = torch.from_numpy(self.noise[index].copy()), index % 2
        if label:
            image[:, ::2] += 2.0
        else:
            image[:, :, ::2] += 2.0
        return image, label


class Halves(Stripes):
    """Which half of the image is lighter, said of every pixel: 0 dark, 1 light."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, pixels = torch.from_numpy(self.noise[index].copy()), torch.zeros(self.noise.shape[2:], dtype=torch.int64)
        pixels[: len(pixels) // 2] = index % 2
        pixels[len(pixels) // 2 :] = 1 - index % 2
        return image + 2.0 * pixels, pixels


def overlap(outputs: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return intersection over union of the light pixels."""
    found = outputs.argmax(axis=1) == 1
    return float(np.sum(found & (labels == 1)) / np.sum(found | (labels == 1)))


def halves(input_shape: tuple[int, int, int]) -> CustomTask:
    splits = (DataLoader(Halves(60, input_shape, own), num_workers=own) for own in range(3))
    return CustomTask(("dark", "light"), *splits, metric=Metric("IoU", overlap))


def a_tenth(outputs: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    return 0.1 * float(np.mean(outputs.argmax(axis=1) == labels))


def stripes(input_shape: tuple[int, int, int]) -> CustomTask:
    splits = (DataLoader(Stripes(60, input_shape, own), num_workers=0) for own in range(3))
    return CustomTask(("across", "along"), *splits, metric=Metric("a tenth", a_tenth))
