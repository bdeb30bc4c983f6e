"""Images in folders: one subfolder for each class, with or without train, val and test folders above them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from scbp_host.errors import DataError
from scbp_host.tasks.splitting import Pictures, Role, fits, sha256

MIN_IMAGES_PER_CLASS = 5
# Of all images may be unreadable where the user sets no limit; rounded up.
CORRUPT_SHARE = 0.01
# Of what is unreadable, so many are named in one line.
_NAMED = 5
_ROLES = {"train": Role.TRAIN, "val": Role.VALIDATION, "valid": Role.VALIDATION, "validation": Role.VALIDATION}
_ROLES["test"] = Role.TEST

FOLDER_HINT = "expected one subfolder of images for each class: my-images/cat/1.jpg, my-images/dog/1.jpg"


@dataclass(frozen=True)
class _Picture:
    path: Path
    label: int
    role: Role


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read from their files, each when it is needed."""

    paths: tuple[Path, ...]
    input_shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> NDArray[np.float32]:
        return read_image(self.paths[index], self.input_shape)


def read_folder(folder: Path, input_shape: tuple[int, int, int], max_corrupt: int | None) -> Pictures:
    """Read a folder of images, resized bilinearly.

    Args:
        folder: holds one subfolder for each class, or ``train`` and ``val`` and/or ``test`` that do.
        input_shape: (channels, height, width); channels are 1 or 3.
        max_corrupt: unreadable images up to this number are left out; None allows 1 % of all.

    Raises:
        DataError: the folder is missing, has too few classes or images, or has too many unreadable ones.
    """
    class_names, listed = _listed(folder)
    in_memory = np.empty((len(listed), *input_shape), dtype=np.float32) if fits(len(listed), input_shape) else None
    kept, corrupt = _read_all(listed, input_shape, in_memory)
    _check_corrupt(folder, corrupt, len(listed), max_corrupt)
    _check_classes(folder, class_names, kept)
    labels = np.array([own.label for own in kept], dtype=np.int64)
    roles = np.array([own.role for own in kept], dtype=np.int8)
    return Pictures(
        ImageFiles(tuple(own.path for own in kept), input_shape) if in_memory is None else in_memory[: len(kept)],
        labels,
        class_names,
        sha256(_content(folder, kept)),
        roles if roles.any() else None,
        (f"{folder}: {_names(corrupt, len(listed))}, left out; mend or remove the files",) if corrupt else (),
    )


def read_image(path: Path, input_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return one image as float32 ``input_shape`` in [0, 1], resized bilinearly.

    Raises:
        DataError: it cannot be read.
    """
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


def _listed(folder: Path) -> tuple[tuple[str, ...], list[_Picture]]:
    """Return the classes and every image file, sorted by role, class and path."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images", FOLDER_HINT)
    subfolders = _subfolders(folder)
    # A class may well be called "test": only train beside val or test, and nothing else, is a layout.
    if len(subfolders) > 1 and "train" in subfolders and set(subfolders) <= set(_ROLES):
        trees = sorted(((_ROLES[name], path) for name, path in subfolders.items()), key=lambda own: own[0])
    else:
        trees = [(Role.TRAIN, folder)]
    class_names = tuple(_subfolders(trees[0][1]))
    if len(class_names) < 2:
        raise DataError(f"{trees[0][1]}: expected at least 2 classes, found {len(class_names)} subfolders", FOLDER_HINT)
    return class_names, [own for role, tree in trees for own in _pictures(tree, role, class_names)]


def _pictures(tree: Path, role: Role, class_names: tuple[str, ...]) -> list[_Picture]:
    found: list[_Picture] = []
    for name, path in _subfolders(tree).items():
        if name not in class_names:
            raise DataError(f"{path}: class {name!r} is not among the training images' {', '.join(class_names)}")
        files = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in IMG_EXTENSIONS)
        found += [_Picture(file, class_names.index(name), role) for file in files]
    if not found:
        raise DataError(f"{tree}: expected images, found none", FOLDER_HINT)
    return found


def _subfolders(folder: Path) -> dict[str, Path]:
    entries = sorted(folder.iterdir())
    return {entry.name: entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def _read_all(
    listed: list[_Picture], input_shape: tuple[int, int, int], images: NDArray[np.float32] | None
) -> tuple[list[_Picture], list[DataError]]:
    """Fill ``images``, if given, from the start; return the pictures that can be read, and why the others cannot."""
    kept: list[_Picture] = []
    corrupt: list[DataError] = []
    for own in listed:
        try:
            image = read_image(own.path, input_shape)
        except DataError as error:
            corrupt.append(error)
            continue
        if images is not None:
            images[len(kept)] = image
        kept.append(own)
    return kept, corrupt


def _check_corrupt(folder: Path, corrupt: list[DataError], count: int, max_corrupt: int | None) -> None:
    allowed = math.ceil(CORRUPT_SHARE * count) if max_corrupt is None else max_corrupt
    if len(corrupt) > allowed:
        raise DataError(
            f"{folder}: {_names(corrupt, count)}; at most {allowed} may be",
            f"mend or remove the files, or allow more: --max-corrupt-images {len(corrupt)}",
        )


def _names(corrupt: list[DataError], count: int) -> str:
    named = "; ".join(error.message for error in corrupt[:_NAMED])
    more = f"; and {len(corrupt) - _NAMED} more" if len(corrupt) > _NAMED else ""
    return f"{len(corrupt)} of {count} images are unreadable ({named}{more})"


def _content(folder: Path, kept: list[_Picture]) -> Iterator[bytes]:
    # Names and bytes: a renamed class, and a changed image, are other data.
    for own in kept:
        yield str(own.path.relative_to(folder)).encode()
        yield own.path.read_bytes()


def _check_classes(folder: Path, class_names: tuple[str, ...], kept: list[_Picture]) -> None:
    counts = np.bincount([own.label for own in kept if own.role is Role.TRAIN], minlength=len(class_names))
    for name, count in zip(class_names, counts, strict=True):
        if count < MIN_IMAGES_PER_CLASS:
            raise DataError(
                f"{folder}: class {name!r} has {count} images, expected at least {MIN_IMAGES_PER_CLASS}",
                f"known image types: {', '.join(IMG_EXTENSIONS)}",
            )
