"""How training images are varied, by name; every draw comes from the generator that is handed in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torchvision.transforms import v2

from scbp_host.config import Augment

# (images (n, channels, height, width) on any device, a CPU generator) -> varied images, the given ones untouched.
Augmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

# Images are shifted by up to this share of their smaller side: 2 pixels of 32.
_SHIFT_SHARE = 1 / 16
# Crops of padded images move by up to this share of each side: 4 pixels of 32, as is usual on CIFAR.
_CROP_SHARE = 1 / 8
# A resized crop keeps at least this share of the area. ImageNet's usual 0.08 asks for hundreds of epochs.
_LEAST_AREA = 0.35


def make_augmentation(name: Augment, size: tuple[int, int]) -> Augmentation:
    """Return the augmentation called ``name`` for images of ``size`` (height, width) pixels.

    - ``none``: images as they are.
    - ``shift``: by whole pixels, edges repeated, up to a sixteenth of the smaller side.
    - ``crop-flip``: a crop of the image padded by an eighth of each side, edges repeated; mirrored half of the time.
    - ``resized-crop-flip``: a crop of 35 % to 100 % of the area, resized; mirrored half of the time.
    """
    return _MAKERS[name](size)


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


def transform_each(transform: v2.Transform) -> Augmentation:
    """Return an augmentation that applies a torchvision v2 transform to every image by itself.

    The transforms draw from torch's global CPU generator: it is seeded from the generator given, and put back.
    """

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        random_seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would seed the CUDA generators too, which are not put back.
            torch.default_generator.manual_seed(random_seed)
            return torch.stack([transform(image) for image in images])

    return augment


def _none(_size: tuple[int, int]) -> Augmentation:
    return lambda images, _generator: images


def _shift(size: tuple[int, int]) -> Augmentation:
    most = max(1, round(min(size) * _SHIFT_SHARE))
    return lambda images, generator: shift_randomly(images, most, generator)


def _crop_flip(size: tuple[int, int]) -> Augmentation:
    rows, columns = (max(1, round(side * _CROP_SHARE)) for side in size)
    crop = v2.RandomCrop(size, padding=[columns, rows], padding_mode="edge")
    return transform_each(v2.Compose([crop, v2.RandomHorizontalFlip()]))


def _resized_crop_flip(size: tuple[int, int]) -> Augmentation:
    crop = v2.RandomResizedCrop(size, scale=(_LEAST_AREA, 1.0), antialias=True)
    return transform_each(v2.Compose([crop, v2.RandomHorizontalFlip()]))


_MAKERS: dict[Augment, Callable[[tuple[int, int]], Augmentation]] = {
    "none": _none,
    "shift": _shift,
    "crop-flip": _crop_flip,
    "resized-crop-flip": _resized_crop_flip,
}
