"""A harder set that the project makes itself: colour textures in noise, which take many detectors to tell apart.

Each class is one random filter of 5x5 pixels and 3 colours. An image is white noise seen through its class's filter,
under more white noise: no shape, no colour and no place gives the class away, only how pixels go with their
neighbours. A wide network has room for a detector of every filter, a narrow one has not;
``tests/bench/textures.py`` shows what that costs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Whatever changes the images raises the version, which is part of their hash: it is another data set then.
VERSION = 1
CLASSES = 32
IMAGES_PER_CLASS = 120
SIZE = 32
_FILTER_SIZE = 5
_FIELD_AMPLITUDE = 4
# Standard deviations in levels of an 8-bit image, around its middle.
_TEXTURE_LEVELS, _NOISE_LEVELS = 40, 40
_MIDDLE = 128


def make_textures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Make the images, bit for bit the same on every machine.

    Only integers are drawn, added and multiplied, and RandomState's stream is frozen by numpy's compatibility policy.

    Returns:
        images (3840, 3, 32, 32) and labels (3840,), class by class.
    """
    random = np.random.RandomState(VERSION)
    filters = random.randint(-3, 4, (CLASSES, 3, _FILTER_SIZE, _FILTER_SIZE), dtype=np.int32)
    images = np.concatenate([_images_of(own, random) for own in filters])
    return images, np.repeat(np.arange(CLASSES, dtype=np.int64), IMAGES_PER_CLASS)


def _images_of(own: NDArray[np.int32], random: np.random.RandomState) -> NDArray[np.uint8]:
    """Return one class's images (n, 3, 32, 32)."""
    side = SIZE + _FILTER_SIZE - 1
    field = random.randint(-_FIELD_AMPLITUDE, _FIELD_AMPLITUDE + 1, (IMAGES_PER_CLASS, 1, side, side), dtype=np.int32)
    seen = _TEXTURE_LEVELS * _filtered(field, own) // _deviation(own)
    # The sum of three uniform draws from [-a, a] is close to normal, and its standard deviation is a + 1/2.
    noise = random.randint(-_NOISE_LEVELS, _NOISE_LEVELS + 1, (3, *seen.shape), dtype=np.int32).sum(axis=0)
    images: NDArray[np.uint8] = np.clip(_MIDDLE + seen + noise, 0, 255).astype(np.uint8)
    return images


def _filtered(field: NDArray[np.int32], own: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the field (n, 1, side, side) seen through the filter's 3 colours: (n, 3, 32, 32)."""
    seen = np.zeros((len(field), len(own), SIZE, SIZE), dtype=np.int32)
    for y in range(_FILTER_SIZE):
        for x in range(_FILTER_SIZE):
            seen += field[:, :, y : y + SIZE, x : x + SIZE] * own[:, y, x, None, None]
    return seen


def _deviation(own: NDArray[np.int32]) -> int:
    """Return the standard deviation, over all colours, of what :func:`_filtered` gives; rounded down."""
    field_variance_x12 = (2 * _FIELD_AMPLITUDE + 1) ** 2 - 1
    return math.isqrt(int((own**2).sum()) * field_variance_x12 // (12 * len(own)))
