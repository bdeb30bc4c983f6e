"""Where tasks come from: a table of names, or a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scbp_host.config import Augment
from scbp_host.errors import UnknownNameError, UsageError
from scbp_host.tasks.augmentation import make_augmentation
from scbp_host.tasks.base import Task
from scbp_host.tasks.cifar import VARIANTS, read_cifar
from scbp_host.tasks.custom import is_reference, load_custom
from scbp_host.tasks.embedded import read_digits, read_textures
from scbp_host.tasks.folder import FOLDER_HINT, read_folder
from scbp_host.tasks.splitting import Pictures, make_task

Shape = tuple[int, int, int]

_EMBEDDED: dict[str, Callable[[Shape], Pictures]] = {"digits": read_digits, "textures": read_textures}
_HINT = "or give a folder, or package.module:function; " + FOLDER_HINT


def data_names() -> list[str]:
    """Return what ``--data`` knows by name; the names of CIFAR take a folder."""
    return [*_EMBEDDED, *(f"{name}:FOLDER" for name in VARIANTS)]


def names_own_task(data: str) -> bool:
    """Say whether ``data`` is a task of the user's own, with whatever outputs and labels it wants."""
    return is_reference(data) and data.partition(":")[0] not in VARIANTS


def load_task(data: str, input_shape: Shape, augment: Augment | None = None, max_corrupt: int | None = None) -> Task:
    """Load a task; ``docs/data.md`` says how each is split.

    Args:
        data: ``digits``, ``textures``, ``cifar10:FOLDER``, ``cifar100:FOLDER``, ``package.module:function``
            (:mod:`scbp_host.tasks.custom`), or a folder of images.
        input_shape: (channels, height, width) the images are resized to (bilinear); channels are 1 or 3.
        augment: how training images are varied; None takes what suits the data, or what the user's task says.
        max_corrupt: unreadable images in a folder up to this number are left out; None allows 1 % of all.

    Raises:
        UnknownNameError: neither a data set's name nor something that looks like a path.
        DataError: files are missing, damaged, too few or too large.
        UsageError: channels are neither 1 nor 3; a name without its folder.
    """
    if names_own_task(data):
        return load_custom(data, input_shape, None if augment is None else make_augmentation(augment, input_shape[1:]))
    if input_shape[0] not in (1, 3):
        raise UsageError(f"input_shape {input_shape}: expected 1 or 3 channels, got {input_shape[0]}")
    pictures, suited = _read(data, input_shape, max_corrupt)
    return make_task(data, pictures, input_shape, make_augmentation(augment or suited, input_shape[1:]))


def _read(data: str, input_shape: Shape, max_corrupt: int | None) -> tuple[Pictures, Augment]:
    """Return the pictures, and the augmentation that suits them."""
    if data in _EMBEDDED:
        return _EMBEDDED[data](input_shape), "shift"
    name, colon, rest = data.partition(":")
    if name in VARIANTS:
        if not rest:
            raise UsageError(f"data {data!r}: expected {name}:FOLDER, the folder of its unpacked archive")
        return read_cifar(name, Path(rest).expanduser(), input_shape), "crop-flip"
    folder = Path(data).expanduser()
    if not folder.exists() and (colon or len(folder.parts) == 1):
        raise UnknownNameError("data set", name if colon else data, [*_EMBEDDED, *VARIANTS], _HINT)
    return read_folder(folder, input_shape, max_corrupt), "resized-crop-flip"
