"""Which channels of a seed a narrower network keeps, and the proof that they belong together.

The narrower network is built from shapes alone first, and its channels are followed through its own forward pass.
Each of its classes then stands for a class of the seed that lies on the same axes; where there are more of those than
needed, the most important stay. This is also right where a position means another channel in a narrower network, as
after a channel shuffle; where the seed has no channel that goes the same way, one goes there unread at first. In the
end every place where two channels of the narrower network meet is looked up in the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.errors import ModelError
from scbp_host.space.coupling import Coupling, couple
from scbp_host.space.labels import FIXED, Atoms, Axis
from scbp_host.space.layers import resized, tensors_of

BLANK = -1
"""In place of a position: the seed has none. Only a filter can have it, for a channel that it reads: zeros there."""

Kept = Mapping[Axis, NDArray[np.int64]]
"""For axes of the seed's tensors the positions kept, in the order they have in the narrower tensor, or BLANK."""

Signatures = NDArray[np.uint64]


class Narrowing:
    """One choice of widths for one seed.

    Args:
        seed: its classes and groups.
        shares: for each group by its number, what part of it stays.
        name: of the candidate, for messages.
    """

    def __init__(self, seed: Coupling, shares: Mapping[int, Fraction], name: str) -> None:
        self._seed = seed
        self._shares = shares
        self._name = name

    def coupled(self, source: nn.Module, input_shape: tuple[int, int, int]) -> Coupling:
        """Follow the channels of the narrower network, built from shapes alone."""
        shapes = {
            name: torch.empty(self._shape(name, tensor), dtype=tensor.dtype, device="meta")
            for name, tensor in tensors_of(source).items()
        }
        try:
            by_whole_groups = frozenset(self._seed.found.by_whole_groups)
            narrow = couple(resized(source, shapes, by_whole_groups), input_shape, by_whole_groups)
        except ModelError as error:
            raise ModelError(f"model {self._name!r}: {error.message}", error.hint) from error
        if narrow.outputs != self._seed.outputs:
            raise ModelError(f"model {self._name!r}: puts out {narrow.outputs}, expected {self._seed.outputs}")
        return narrow

    def kept(self, narrow: Coupling, scores: NDArray[np.float64]) -> Kept:
        """Choose the seed's positions for every axis of the narrower network."""
        stands_for = self._match(narrow, scores)
        kept = {}
        for axis in narrow.found.ledger.axes:
            if axis not in self._seed.found.ledger.axes:
                raise ModelError(f"model {self._name!r}: tensor {axis[0]!r} is used in another way than in the seed")
            kept[axis] = self._positions(axis, stands_for[narrow.classes_of(axis)])
        return kept

    def prove(self, narrow: Coupling, kept: Kept) -> None:
        """Raise ModelError unless channels that meet in the narrower network meet in the seed, at the same place."""
        seed_ledger, ledger = self._seed.found.ledger, narrow.found.ledger
        origin = np.zeros(ledger.size, np.int64)
        for axis, (start, length) in ledger.axes.items():
            own = kept[axis]
            origin[start : start + length] = np.where(own == BLANK, BLANK, seed_ledger.axes[axis][0] + own)
        met = [*seed_ledger.links, *seed_ledger.orders, *seed_ledger.reads]
        meet = [origin[own] for own in (*ledger.links, *ledger.orders)]
        # A filter that has zeros for a channel does not meet it.
        meet += [own[own[:, 1] != BLANK] for own in (origin[own] for own in ledger.reads)]
        if len(met) != len(meet) or not all(
            np.isin(_packed(own), _packed(seeds)).all() for own, seeds in zip(meet, met, strict=True)
        ):
            raise ModelError(f"model {self._name!r}: at these widths channels meet that do not meet in the seed")

    def _shape(self, name: str, tensor: torch.Tensor) -> tuple[int, ...]:
        return tuple(self._length(name, axis, size) for axis, size in enumerate(tensor.shape))

    def _length(self, name: str, axis: int, size: int) -> int:
        if (name, axis) not in self._seed.found.ledger.axes:
            return size
        shares, counts = np.unique(self._seed.shares[self._seed.atoms((name, axis))], return_counts=True)
        length = sum(
            int(count) * self._shares.get(int(share), Fraction(1)) for share, count in zip(shares, counts, strict=True)
        )
        if Fraction(length).denominator != 1:
            raise ModelError(
                f"model {self._name!r}: tensor {name!r} would have {float(length):g} channels on axis {axis}"
            )
        return int(length)

    def _match(self, narrow: Coupling, scores: NDArray[np.float64]) -> Atoms:
        """Return for each class of the narrower network the class of the seed that it stands for.

        That is one on the same axes. Where there are too few, what is left takes one that is made in the same way, but
        read by other filters: after a channel shuffle a position can take a way through the blocks that it takes at no
        position of the seed.
        """
        theirs, own = _signatures(self._seed), _signatures(narrow)
        stands_for = np.full(len(own), BLANK, np.int64)
        self._choose(stands_for, own, theirs, scores)
        if (stands_for == BLANK).any():
            readers = self._seed.found.ledger.readers
            self._choose(stands_for, _signatures(narrow, readers), _signatures(self._seed, readers), scores)
        missing = np.flatnonzero(stands_for == BLANK)
        if len(missing):
            axes = [name for name, axis in narrow.found.ledger.axes if missing[0] in narrow.classes_of((name, axis))]
            raise ModelError(
                f"model {self._name!r}: at these widths the channels of {', '.join(map(repr, axes[:3]))} hang "
                "together in another way than in the seed"
            )
        return stands_for

    def _choose(self, stands_for: Atoms, own: Signatures, theirs: Signatures, scores: NDArray[np.float64]) -> None:
        """Let classes that stand for none yet stand for the most important free ones of the same signature."""
        free = ~np.isin(np.arange(len(theirs)), stands_for)
        for signature in np.unique(own[stands_for == BLANK]):
            places = np.flatnonzero((own == signature) & (stands_for == BLANK))
            choice = np.flatnonzero((theirs == signature) & free)
            # A stable sort makes equally important channels go in the same order on every machine.
            best = np.sort(choice[np.argsort(-scores[choice], kind="stable")[: len(places)]])
            stands_for[places[: len(best)]] = best

    def _positions(self, axis: Axis, wanted: Atoms) -> NDArray[np.int64]:
        classes = self._seed.classes_of(axis)
        positions = np.full(len(wanted), BLANK, np.int64)
        there = np.isin(wanted, classes) if axis in self._seed.found.ledger.readers else np.full(len(wanted), True)
        found = np.flatnonzero(np.isin(classes, wanted))
        found = found[np.argsort(classes[found], kind="stable")]
        order = np.flatnonzero(there)[np.argsort(wanted[there], kind="stable")]
        if not np.array_equal(classes[found], wanted[order]):
            raise ModelError(
                f"model {self._name!r}: tensor {axis[0]!r} has other channels than the seed's on axis {axis[1]}"
            )
        positions[order] = found
        return positions


def _signatures(coupling: Coupling, but: Container[Axis] = ()) -> Signatures:
    """Return a number for each class that says on which axes it lies, and how often; some axes may be left out."""
    of_atoms = np.zeros(coupling.found.ledger.size, np.uint64)
    for axis in coupling.found.ledger.axes:
        if axis not in but:
            digest = hashlib.blake2b(repr(axis).encode(), digest_size=8).digest()
            of_atoms[coupling.atoms(axis)] = int.from_bytes(digest)
    signatures = np.zeros(int(coupling.classes.max()) + 1, np.uint64)
    np.add.at(signatures, coupling.classes, of_atoms)  # sums wrap around, as they do in any hash
    signatures[coupling.classes[FIXED]] = 0
    return signatures


def _packed(pairs: Atoms) -> Atoms:
    packed: Atoms = pairs[:, 0] << 32 | pairs[:, 1]
    return packed
