"""CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) from local files.

Both published forms are read: the binary one, and the pickled one that torchvision downloads. A pickle is a program,
and to load one is to run it. So it is never loaded: :func:`pickletools.genops` lists its operations without carrying
them out, and of these only the image bytes, the labels and their names are taken.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scbp_host.errors import DataError
from scbp_host.tasks.pixels import PixelImages, as_input
from scbp_host.tasks.splitting import Pictures, Role, fits, sha256

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Variant:
    """Where one of the two data sets keeps what.

    Attributes:
        name: as in ``--data``.
        folders: of the binary form, then of the pickled one; as the archives unpack.
        train: files without their suffix.
        test: the test file, likewise.
        names: the binary form's list of class names.
        label_bytes: in front of each binary image; the last of them is the label.
        meta: the pickled form's file with the class names.
        label_key: the pickled labels' key.
        names_key: the pickled class names' key.
    """

    name: str
    folders: tuple[str, str]
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int
    meta: str
    label_key: str
    names_key: str


VARIANTS = {
    "cifar10": Variant(
        "cifar10",
        ("cifar-10-batches-bin", "cifar-10-batches-py"),
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        "batches.meta.txt",
        1,
        "batches.meta",
        "labels",
        "label_names",
    ),
    "cifar100": Variant(
        "cifar100",
        ("cifar-100-binary", "cifar-100-python"),
        ("train",),
        "test",
        "fine_label_names.txt",
        2,
        "meta",
        "fine_labels",
        "fine_label_names",
    ),
}

_Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_cifar(name: str, folder: Path, input_shape: tuple[int, int, int]) -> Pictures:
    """Read one of the two data sets, its own test images for testing.

    Args:
        name: a key of :data:`VARIANTS`.
        folder: the unpacked archive, or the folder that it was unpacked in.
        input_shape: (channels, height, width); channels are 1 or 3.

    Raises:
        DataError: a file is missing, damaged, or of something else.
    """
    variant = VARIANTS[name]
    found, binary = _locate(variant, folder)
    files = [*variant.train, variant.test]
    read, suffix = (_read_binary, ".bin") if binary else (_read_pickled, "")
    batches = [read(variant, found / f"{own}{suffix}") for own in files]
    class_names = _binary_names(found / variant.names) if binary else _pickled_names(variant, found / variant.meta)
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    if labels.max() >= len(class_names):
        raise DataError(f"{found}: label {labels.max()} has no name among {len(class_names)}", _hint(variant))
    roles = np.full(len(labels), Role.TRAIN, dtype=np.int8)
    roles[-len(batches[-1][1]) :] = Role.TEST
    digest = sha256([pixels.tobytes(), labels.astype("<i8").tobytes(), *(own.encode() for own in class_names)])
    images = as_input(pixels, input_shape) if fits(len(labels), input_shape) else PixelImages(pixels, input_shape)
    return Pictures(images, labels, class_names, digest, roles)


def _locate(variant: Variant, folder: Path) -> tuple[Path, bool]:
    """Return the folder that holds the files, and whether they are the binary form."""
    for own, test_file in zip(variant.folders, (f"{variant.test}.bin", variant.test), strict=True):
        for place in (folder, folder / own):
            if (place / test_file).is_file():
                return place, test_file.endswith(".bin")
    raise DataError(f"{folder}: expected {' or '.join(variant.folders)} there", _hint(variant))


def _hint(variant: Variant) -> str:
    return f"unpack {variant.name}'s archive and give its folder: --data {variant.name}:FOLDER; nothing is downloaded"


def _read_binary(variant: Variant, path: Path) -> _Batch:
    rows = np.frombuffer(_read(variant, path), dtype=np.uint8)
    row_bytes = variant.label_bytes + _PIXELS
    if not len(rows) or len(rows) % row_bytes:
        raise DataError(f"{path}: expected images of {row_bytes} bytes each, got {len(rows)} bytes", _hint(variant))
    rows = rows.reshape(-1, row_bytes)
    return _as_images(rows[:, variant.label_bytes :]), rows[:, variant.label_bytes - 1].astype(np.int64)


def _binary_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise DataError(f"{path}: expected the class names, one on each line")
    return tuple(path.read_text(encoding="utf-8").split())


def _read_pickled(variant: Variant, path: Path) -> _Batch:
    found = _Pickled(variant, path)
    pixels, labels = found.pixels(), found.numbers(variant.label_key)
    if len(pixels) != len(labels) or not len(labels):
        raise DataError(f"{path}: {len(pixels)} images do not belong to {len(labels)} labels", _hint(variant))
    return _as_images(pixels), labels


def _pickled_names(variant: Variant, path: Path) -> tuple[str, ...]:
    return _Pickled(variant, path).words(variant.names_key)


def _as_images(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return rows.reshape(-1, 3, 32, 32)


def _read(variant: Variant, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", _hint(variant)) from error


class _Pickled:
    """The values in a pickled dictionary of strings, lists and one array of bytes, none of it executed."""

    def __init__(self, variant: Variant, path: Path) -> None:
        self._variant, self._path = variant, path
        data = _read(variant, path)
        try:
            # What is memoised says nothing of the values.
            found = ((op.name, value) for op, value, _ in pickletools.genops(data))
            self._values = [(name, value) for name, value in found if "PUT" not in name and name != "MEMOIZE"]
        except ValueError as error:
            raise self._damaged(f"no pickle: {error}") from error

    def pixels(self) -> NDArray[np.uint8]:
        """Return the array (n, 3072)."""
        for (before, _), (_, value) in pairwise(self._values):
            # numpy writes an array's bytes right after its flag for Fortran's order.
            if before in ("NEWFALSE", "NEWTRUE") and isinstance(value, str | bytes):
                data = value.encode("latin-1") if isinstance(value, str) else value
                if len(data) % _PIXELS:
                    raise self._damaged(f"{len(data)} bytes are no whole number of images")
                flat = np.frombuffer(data, dtype=np.uint8)
                return flat.reshape(_PIXELS, -1).T if before == "NEWTRUE" else flat.reshape(-1, _PIXELS)
        raise self._damaged("it holds no array")

    def numbers(self, key: str) -> NDArray[np.int64]:
        """Return the list of whole numbers under ``key``."""
        found = self._list(key)
        if not all(isinstance(own, int) for own in found):
            raise self._damaged(f"{key!r} is no list of whole numbers")
        return np.array(found, dtype=np.int64)

    def words(self, key: str) -> tuple[str, ...]:
        """Return the list of strings under ``key``."""
        found = [own.decode("latin-1") if isinstance(own, bytes) else own for own in self._list(key)]
        names = tuple(own for own in found if isinstance(own, str))
        if not names or len(names) < len(found):
            raise self._damaged(f"{key!r} is no list of names")
        return names

    def _list(self, key: str) -> list[object]:
        keys = (key, key.encode())
        for position, (_, value) in enumerate(self._values[:-1]):
            if isinstance(value, str | bytes) and value in keys and self._values[position + 1][0] == "EMPTY_LIST":
                return self._items(position + 2)
        raise self._damaged(f"it holds no list {key!r}")

    def _items(self, position: int) -> list[object]:
        """Return the list's items: groups between MARK and APPENDS, and single ones before APPEND."""
        items: list[object] = []
        while position + 1 < len(self._values):
            if self._values[position][0] == "MARK":
                group = takewhile(lambda own: own[0] != "APPENDS", self._values[position + 1 :])
                values = [value for _, value in group]
                items += values
                position += len(values) + 2
            elif self._values[position + 1][0] == "APPEND":
                items.append(self._values[position][1])
                position += 2
            else:
                break
        return items

    def _damaged(self, why: str) -> DataError:
        return DataError(f"{self._path}: not a file of {self._variant.name} ({why})", _hint(self._variant))
