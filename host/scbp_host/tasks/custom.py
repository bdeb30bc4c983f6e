"""A task of the user's own: what ``--data package.module:function`` returns."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from scbp_host.errors import DataError
from scbp_host.tasks.augmentation import Augmentation
from scbp_host.tasks.base import Examples, Normalization, Split, Task
from scbp_host.tasks.classification import TOP1
from scbp_host.tasks.guards import (
    HINT,
    GuardedAugmentation,
    GuardedCollate,
    GuardedItems,
    GuardedLoss,
    Shape,
    attributed,
)
from scbp_host.tasks.metric import Loss, Metric
from scbp_host.tasks.splitting import sha256
from scbp_host.tasks.streaming import ItemSource, Stream, default_workers

# Images as (n, channels, height, width) with labels (n, ...); a map-style dataset of (image, label); or its loader.
Source = tuple[NDArray[Any], NDArray[Any]] | ItemSource | DataLoader[Any]

# Examples hashed at a time.
_PART_SIZE = 256


@dataclass(frozen=True)
class CustomTask:
    """What a function of the user's own returns; it is called as ``function(input_shape=(channels, height, width))``.

    Images are what the model takes: float32, of ``input_shape``, normalised. Nothing is resized or split here. Of a
    DataLoader the dataset, ``collate_fn`` and ``num_workers`` are used; which images make a batch is drawn from the
    run's random seed.

    Attributes:
        class_names: in the order of the model's outputs, at least 2.
        train: what models learn from.
        validation: what candidates are selected by.
        test: read once, for the seed and the best.
        loss: of the model's outputs and the labels, a mean over the batch.
        metric: of the same, a share in [0, 1]; more is better.
        augmentation: varies a batch of training images; None leaves them as they are.
        version: names the data, in the place of a hash for which every image is read once. Whoever changes the data
            changes it: runs of one version compare.
    """

    class_names: Sequence[str]
    train: Source
    validation: Source
    test: Source
    loss: Loss = functional.cross_entropy
    metric: Metric = TOP1
    augmentation: Augmentation | None = None
    version: str | None = None


def load_custom(reference: str, input_shape: Shape, augmentation: Augmentation | None) -> Task:
    """Call the user's function and check what it returns.

    Args:
        reference: ``package.module:function``.
        input_shape: (channels, height, width).
        augmentation: in the place of the task's own; None keeps that.

    Raises:
        DataError: it cannot be imported, fails, or returns something else than a task for ``input_shape``.
    """
    made = _call(_import(reference), reference, input_shape)
    train, validation, test = (
        _examples(source, f"{reference}: {name}", input_shape)
        for name, source in (("train", made.train), ("validation", made.validation), ("test", made.test))
    )
    channels = input_shape[0]
    return Task(
        reference,
        tuple(made.class_names),
        input_shape,
        train,
        validation,
        Normalization((0.0,) * channels, (1.0,) * channels),
        _digest(made, (train, validation, test)),
        held_out=test,
        augmentation=augmentation or GuardedAugmentation(made.augmentation or _unvaried, reference),
        loss=GuardedLoss(made.loss, reference),
        metric=made.metric,
    )


def is_reference(data: str) -> bool:
    """Say whether ``data`` looks like ``package.module:function``."""
    module, _, function = data.partition(":")
    return function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _import(reference: str) -> Callable[..., object]:
    module, _, function = reference.partition(":")
    with attributed(f"data {reference!r} cannot be imported"):
        found = getattr(importlib.import_module(module), function)
    if not callable(found):
        raise DataError(f"data {reference!r}: expected a function, got {type(found).__name__}", HINT)
    returned: Callable[..., object] = found
    return returned


def _call(function: Callable[..., object], reference: str, input_shape: Shape) -> CustomTask:
    with attributed(f"data {reference!r} failed"):
        made = function(input_shape=input_shape)
    if not isinstance(made, CustomTask):
        raise DataError(f"data {reference!r}: expected a CustomTask, got {type(made).__name__}", HINT)
    _check_facts(made, reference)
    return made


def _check_facts(made: CustomTask, reference: str) -> None:
    names = made.class_names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise DataError(f"data {reference!r}: expected class names, a sequence of strings, got {names!r}", HINT)
    if len(names) < 2:
        raise DataError(f"data {reference!r}: expected at least 2 class names, got {len(names)}", HINT)
    if not isinstance(made.metric, Metric):
        raise DataError(f"data {reference!r}: expected Metric(name, score), got {type(made.metric).__name__}", HINT)
    for what, own in (("a loss", made.loss), ("an augmentation", made.augmentation or _unvaried)):
        if not callable(own):
            raise DataError(f"data {reference!r}: expected {what}, a function, got {type(own).__name__}", HINT)


def _examples(source: Source, name: str, input_shape: Shape) -> Examples:
    examples = _wrapped(source, name, input_shape)
    if not len(examples):
        raise DataError(f"{name}: expected examples, found none", HINT)
    # Before anything is trained; the others are looked at when they are read.
    examples.part(np.arange(1))
    return examples


def _wrapped(source: Source, name: str, input_shape: Shape) -> Examples:
    if isinstance(source, tuple):
        return _arrays(source, name, input_shape)
    if isinstance(source, DataLoader):
        dataset, workers, collate = source.dataset, source.num_workers, source.collate_fn
    else:
        dataset, workers, collate = cast("Dataset[Any]", source), default_workers(), default_collate
    items = GuardedItems(_map_style(dataset, name), name)
    return Stream(items, np.arange(len(items)), workers, GuardedCollate(collate, name, input_shape), HINT)


def _arrays(source: tuple[Any, ...], name: str, input_shape: Shape) -> Split:
    if len(source) != 2:
        raise DataError(f"{name}: expected a pair of arrays, images and labels, got {len(source)} values", HINT)
    images, labels = GuardedCollate(lambda _: source, name, input_shape)([source])
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} images do not belong to {len(labels)} labels", HINT)
    return Split(images.numpy(), labels.numpy())


def _map_style(dataset: Any, name: str) -> ItemSource:
    if isinstance(dataset, IterableDataset) or not all(hasattr(dataset, own) for own in ("__len__", "__getitem__")):
        found = type(dataset).__name__
        raise DataError(f"{name}: expected arrays, or a dataset with a length and items, got {found}", HINT)
    items: ItemSource = dataset
    return items


def _digest(made: CustomTask, splits: Iterable[Examples]) -> str:
    facts = [name.encode() for name in made.class_names]
    if made.version is not None:
        sizes = (str(len(own)).encode() for own in splits)
        return sha256([*facts, made.version.encode(), *sizes]).hex()
    parts = (part for own in splits for part in own.parts(_PART_SIZE))
    return sha256([*facts, *(sha256([part.images.tobytes(), part.labels.tobytes()]) for part in parts)]).hex()


def _unvaried(images: torch.Tensor, _generator: torch.Generator) -> torch.Tensor:
    return images
