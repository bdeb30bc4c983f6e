"""Labels say which channel every element of a tensor belongs to, and links say which channels are one.

A channel is born as a position on an axis of a parameter or buffer: an **atom**. A tensor's labels are an int64 tensor
of the same rank that holds the atom of every element; an axis along which the atom does not change has size 1, so a
feature map of 64 channels has labels of shape (1, 64, 1, 1). What an operator does to a layout (views, transposes,
channel shuffles, pixel shuffles, slices, concatenations) it does to the labels when it is run on them. Atom 0 stands
for what can never be removed: the image, a constant, the network's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

Atoms = NDArray[np.int64]
Labels = torch.Tensor
Axis = tuple[str, int]
"""A tensor of the network by its name in the state dict, and one of its axes."""

FIXED = 0


@dataclass
class Ledger:
    """What a forward pass finds out about atoms; every list grows by the same number of entries for equal passes.

    Attributes:
        axes: for each axis seen, its first atom and its length.
        size: the number of atoms, FIXED included.
        links: arrays of shape (n, 2) whose rows are two atoms that are one channel.
        reads: the same, where the second atom is a filter's entry for the first: a zero there reads nothing.
        readers: the axes of those filters.
        orders: arrays of shape (n, 2) whose rows are atoms that meet without being one channel: a grouped
            convolution's filters and what each of them reads.
        ties: arrays of shape (n, 2) whose rows are atoms of channels that may shrink in proportion only.
    """

    axes: dict[Axis, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    links: list[Atoms] = field(default_factory=list)
    reads: list[Atoms] = field(default_factory=list)
    readers: set[Axis] = field(default_factory=set)
    orders: list[Atoms] = field(default_factory=list)
    ties: list[Atoms] = field(default_factory=list)

    def axis(self, name: str, axis: int, length: int) -> Labels:
        """Return the atoms of one axis of a tensor of the network, shape (length,). One channel alone is FIXED."""
        if length == 1:
            return torch.zeros(1, dtype=torch.int64)
        if (name, axis) not in self.axes:
            self.axes[name, axis] = (self.size, length)
            self.size += length
        start, _ = self.axes[name, axis]
        return torch.arange(start, start + length)

    def link(self, one: Labels, other: Labels) -> None:
        """Record that these are the same channels, element by element, broadcast against each other."""
        pairs = _pairs(one, other)
        self.links.append(pairs[pairs[:, 0] != pairs[:, 1]])

    def read(self, channels: Labels, taken: Labels, axis: Axis) -> None:
        """Record that every filter has an entry for each of these channels, ``taken`` along ``axis`` of a weight."""
        self.reads.append(_pairs(channels, taken))
        self.readers.add(axis)

    def order(self, one: Labels, other: Labels) -> None:
        """Record who meets whom where that does not make them one channel."""
        self.orders.append(_pairs(one, other))

    def tie(self, labels: Labels) -> None:
        """Record that all these channels shrink in proportion."""
        self.ties.append(_pairs(labels.reshape(-1)[:1], labels))

    def fix(self, labels: Labels) -> None:
        """Record that these channels must stay."""
        self.link(labels, torch.zeros(1, dtype=torch.int64))

    def along(self, labels: Labels, axes: Sequence[int]) -> Labels:
        """Return ``labels`` with size 1 on every other axis: what differs there is linked to be one channel."""
        others = [axis for axis in range(labels.ndim) if axis not in axes]
        first = labels[tuple(slice(0, 1) if axis in others else slice(None) for axis in range(labels.ndim))]
        self.link(first, labels)
        return first


def full(labels: Labels, shape: Sequence[int]) -> Labels:
    """Return the labels of every element of a tensor of ``shape``, without taking the memory."""
    return labels.expand(*shape)


def compressed(labels: Labels) -> Labels:
    """Return ``labels`` with size 1 on every axis along which they do not change."""
    for axis in range(labels.ndim):
        first = labels.narrow(axis, 0, 1) if labels.shape[axis] else labels
        if labels.shape[axis] > 1 and bool((labels == first).all()):
            labels = first
    return labels


def varying_axes(labels: Labels) -> list[int]:
    """Return the axes along which the labels change, counted from the end: -1 is the last."""
    return [axis - labels.ndim for axis in range(labels.ndim) if labels.shape[axis] > 1]


def plain(ndim: int) -> Labels:
    """Return the labels of a tensor of that rank that carries no channels."""
    return torch.zeros((1,) * ndim, dtype=torch.int64)


def broadcast(one: Labels, other: Labels) -> tuple[Labels, Labels]:
    """Return both at the shape that they have in common."""
    shape = np.broadcast_shapes(one.shape, other.shape)
    return one.expand(shape), other.expand(shape)


def _pairs(one: Labels, other: Labels) -> Atoms:
    one, other = broadcast(one, other)
    # Two atoms in one number: numpy sorts numbers faster than rows.
    packed = np.unique((one.reshape(-1) << 32 | other.reshape(-1)).numpy())
    return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1)
