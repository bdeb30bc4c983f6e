"""Where tasks come from: scikit-learn's digits, our own textures, or a folder with one subfolder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch.nn import functional
from torchvision.datasets.folder import IMG_EXTENSIONS

from scbp_host.errors import DataError, UnknownNameError, UsageError
from scbp_host.tasks import textures
from scbp_host.tasks.base import Normalization, Split, Task

DIGITS, TEXTURES = "digits", "textures"
TRAIN_SHARE, VALIDATION_SHARE = 0.5, 0.2
# Independent of a run's random seed: runs with other seeds must stay comparable on the same test images.
SPLIT_SEED = 20
MIN_IMAGES_PER_CLASS = 5
MAX_BYTES = 4 * 1024**3

_FOLDER_HINT = "expected one subfolder of images for each class: my-images/cat/1.jpg, my-images/dog/1.jpg"


@dataclass(frozen=True)
class _Raw:
    """Unsplit data: images (n, c, h, w) in [0, 1], labels (n,), class names, and a hash of the original bytes."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    sha256: bytes


def load_task(name_or_path: str, input_shape: tuple[int, int, int]) -> Task:
    """Load a task, split 50/20/30 by class with a fixed seed, normalised by the statistics of its training images.

    Args:
        name_or_path: ``digits`` (1,797 handwritten digits of 8x8 pixels, embedded in scikit-learn), ``textures``
            (:mod:`scbp_host.tasks.textures`), or a folder with one subfolder of images for each class.
        input_shape: (channels, height, width) the images are resized to (bilinear); channels are 1 or 3.

    Raises:
        UnknownNameError: neither a data set's name nor something that looks like a path.
        DataError: the folder is missing, has too few classes or images, is too large, or an image is corrupt.
        UsageError: channels are neither 1 nor 3.
    """
    if input_shape[0] not in (1, 3):
        raise UsageError(f"input_shape {input_shape}: expected 1 or 3 channels, got {input_shape[0]}")
    if name_or_path == DIGITS:
        return _split(DIGITS, _digits(input_shape), input_shape)
    if name_or_path == TEXTURES:
        return _split(TEXTURES, _textures(input_shape), input_shape)
    folder = Path(name_or_path).expanduser()
    if not folder.exists() and len(folder.parts) == 1:
        raise UnknownNameError("data set", name_or_path, [DIGITS, TEXTURES], "or give a folder: " + _FOLDER_HINT)
    return _split(str(folder), _folder(folder, input_shape), input_shape)


def stratified_indices(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split every class 50/20/30; return sorted indices of the train, validation and test images."""
    # RandomState's stream is frozen by numpy's compatibility policy; Generator's is not.
    random = np.random.RandomState(SPLIT_SEED)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for label in np.unique(labels):
        shuffled = random.permutation(np.flatnonzero(labels == label))
        first = round(TRAIN_SHARE * len(shuffled))
        second = first + max(1, round(VALIDATION_SHARE * len(shuffled)))
        for part, indices in zip(parts, np.split(shuffled, [first, second]), strict=True):
            part.append(indices)
    train, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, validation, test


def _split(name: str, raw: _Raw, input_shape: tuple[int, int, int]) -> Task:
    indices = stratified_indices(raw.labels)
    train = raw.images[indices[0]]
    mean = train.mean(axis=(0, 2, 3), dtype=np.float64)
    # A channel that never changes carries nothing; dividing by its zero deviation would make NaN of it.
    std = np.maximum(train.std(axis=(0, 2, 3), dtype=np.float64), 1e-6)
    images = (raw.images - mean[:, None, None].astype(np.float32)) / std[:, None, None].astype(np.float32)
    splits = [Split(images[part], raw.labels[part]) for part in indices]
    return Task(
        name,
        raw.class_names,
        input_shape,
        splits[0],
        splits[1],
        Normalization(tuple(mean.tolist()), tuple(std.tolist())),
        _sha256([raw.sha256, *(part.astype("<i8").tobytes() for part in indices)]),
        held_out=splits[2],
    )


def _digits(input_shape: tuple[int, int, int]) -> _Raw:
    bunch = load_digits()
    grey = bunch.images.astype(np.float64)  # (1797, 8, 8), 0 to 16
    labels = bunch.target.astype(np.int64)
    scaled = torch.from_numpy((grey / 16.0).astype(np.float32))[:, None]
    resized = functional.interpolate(scaled, size=input_shape[1:], mode="bilinear", align_corners=False)
    images = resized.expand(-1, input_shape[0], -1, -1).contiguous().numpy()
    digest = _sha256([grey.astype("<f8").tobytes(), labels.astype("<i8").tobytes()])
    return _Raw(images, labels, tuple(str(digit) for digit in range(10)), bytes.fromhex(digest))


def _textures(input_shape: tuple[int, int, int]) -> _Raw:
    pixels, labels = textures.make_textures()
    images = torch.from_numpy(pixels).float() / 255
    if input_shape[0] == 1:
        images = images.mean(dim=1, keepdim=True)
    resized = functional.interpolate(images, size=input_shape[1:], mode="bilinear", align_corners=False).numpy()
    digest = _sha256([str(textures.VERSION).encode(), pixels.tobytes(), labels.astype("<i8").tobytes()])
    names = tuple(f"texture-{label}" for label in range(textures.CLASSES))
    return _Raw(resized, labels, names, bytes.fromhex(digest))


def _folder(folder: Path, input_shape: tuple[int, int, int]) -> _Raw:
    files = _class_files(folder)
    paths = [path for members in files.values() for path in members]
    needed_bytes = 4 * int(np.prod(input_shape)) * len(paths)
    if needed_bytes > MAX_BYTES:
        raise DataError(
            f"{folder}: {len(paths)} images at {input_shape} take {needed_bytes / 1024**3:.1f} GiB; at most 4"
        )
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(members) for members in files.values()])
    images = np.stack([_read_image(path, input_shape) for path in paths])
    # Names and bytes: a renamed class, and a changed image, are other data.
    hashed = (part for path in paths for part in (str(path.relative_to(folder)).encode(), path.read_bytes()))
    return _Raw(images, labels, tuple(files), bytes.fromhex(_sha256(hashed)))


def _class_files(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images", _FOLDER_HINT)
    files = {
        entry.name: sorted(path for path in entry.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if len(files) < 2:
        raise DataError(f"{folder}: expected at least 2 classes, found {len(files)} subfolders", _FOLDER_HINT)
    for name, members in files.items():
        if len(members) < MIN_IMAGES_PER_CLASS:
            raise DataError(
                f"{folder}: class {name!r} has {len(members)} images, expected at least {MIN_IMAGES_PER_CLASS}",
                f"known image types: {', '.join(IMG_EXTENSIONS)}",
            )
    return files


def _read_image(path: Path, input_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    channels, height, width = input_shape
    try:
        with Image.open(path) as image:
            converted = image.convert("RGB" if channels == 3 else "L")
            resized = converted.resize((width, height), Image.Resampling.BILINEAR)
    # PIL's decoders raise SyntaxError for a broken PNG and DecompressionBombError for an absurd size.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error})", "mend or remove the file") from error
    pixels = np.asarray(resized, dtype=np.float32).reshape(height, width, channels) / np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
