"""8-bit RGB pixels as a network's input: grey or colour, resized, in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

# Converted at a time, so that no second copy of all images is made on the way.
_SLICE = 4096
# Luma of ITU-R BT.601, which is also what PIL's "L" means.
_LUMA = (0.299, 0.587, 0.114)


def as_input(pixels: NDArray[np.uint8], input_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return 8-bit images (n, 3, h, w) as float32 (n, *input_shape) in [0, 1], resized bilinearly; channels 1 or 3."""
    images = np.empty((len(pixels), *input_shape), dtype=np.float32)
    for start in range(0, len(pixels), _SLICE):
        part = torch.from_numpy(pixels[start : start + _SLICE]).float() / 255
        if input_shape[0] == 1:
            part = torch.tensordot(torch.tensor(_LUMA), part, dims=([0], [1]))[:, None]
        if part.shape[2:] != input_shape[1:]:
            part = functional.interpolate(part, size=input_shape[1:], mode="bilinear", antialias=True)
        images[start : start + _SLICE] = part.numpy()
    return images


@dataclass(frozen=True)
class PixelImages:
    """8-bit images (n, 3, h, w), each converted when it is read."""

    pixels: NDArray[np.uint8]
    input_shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int, /) -> NDArray[np.float32]:
        image: NDArray[np.float32] = as_input(self.pixels[index : index + 1], self.input_shape)[0]
        return image
