"""Data sets that need no file: scikit-learn's digits, and our own textures."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from scbp_host.tasks import textures
from scbp_host.tasks.pixels import as_input
from scbp_host.tasks.splitting import Pictures, sha256


def read_digits(input_shape: tuple[int, int, int]) -> Pictures:
    """Return scikit-learn's 1,797 handwritten digits of 8x8 pixels, resized."""
    bunch = load_digits()
    grey = bunch.images.astype(np.float64)  # (1797, 8, 8), 0 to 16
    labels = bunch.target.astype(np.int64)
    scaled = torch.from_numpy((grey / 16.0).astype(np.float32))[:, None]
    resized = functional.interpolate(scaled, size=input_shape[1:], mode="bilinear", align_corners=False)
    images = resized.expand(-1, input_shape[0], -1, -1).contiguous().numpy()
    digest = sha256([grey.astype("<f8").tobytes(), labels.astype("<i8").tobytes()])
    return Pictures(images, labels, tuple(str(digit) for digit in range(10)), digest)


def read_textures(input_shape: tuple[int, int, int]) -> Pictures:
    """Return :mod:`scbp_host.tasks.textures`, resized."""
    pixels, labels = textures.make_textures()
    digest = sha256([str(textures.VERSION).encode(), pixels.tobytes(), labels.astype("<i8").tobytes()])
    names = tuple(f"texture-{label}" for label in range(textures.CLASSES))
    return Pictures(as_input(pixels, input_shape), labels, names, digest)
