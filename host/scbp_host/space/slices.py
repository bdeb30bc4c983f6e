"""A candidate as a part of its seed: which entries of every tensor it keeps, and the proof that they belong together.

The narrower network is built from shapes alone first, and its channels are followed through its own forward pass.
Each of its classes then stands for a class of the seed that lies on the same axes; where there are more of those than
needed, the most important stay. This is also right where a position means another channel in a narrower network, as
after a channel shuffle. In the end every place where two channels of the narrower network meet is looked up in the
seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.coupling import Coupling, couple
from scbp_host.space.importance import Scores, channel_scores
from scbp_host.space.labels import FIXED, Atoms, Axis
from scbp_host.space.layers import resized, tensors_of
from scbp_host.space.seeds import build_seed

Kept = Mapping[Axis, NDArray[np.int64]]
"""For axes of the seed's tensors the positions kept, in the order they have in the narrower tensor."""


@dataclass(frozen=True)
class Slice:
    """The part of one tensor that a smaller network keeps.

    Attributes:
        axes: for each axis the int64 indices kept, in order; None keeps the whole axis.
    """

    axes: tuple[torch.Tensor | None, ...]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of ``tensor``, on its device; gradients flow back into the entries kept."""
        for axis, kept in enumerate(self.axes):
            if kept is not None:
                tensor = tensor.index_select(axis, kept.to(tensor.device))
        return tensor


@dataclass(frozen=True)
class Carving:
    """A candidate as a part of its seed.

    Attributes:
        module: what :func:`scbp_host.space.derive.derive` returns, in eval mode on the CPU.
        slices: for every parameter and buffer by name, what the candidate keeps of the seed's.
    """

    module: nn.Module
    slices: Mapping[str, Slice]


def carve(candidate: Candidate, source: nn.Module | None = None, scores: Scores | None = None) -> Carving:
    """Cut the candidate out of a seed, and say which of the seed's entries each of its tensors holds.

    Args:
        candidate: which widths; a group that it does not name keeps the seed's.
        source: the seed; it stays as it is. None takes one with random weights, and the first channels of each group.
        scores: how important what the source has is; of equal channels, and of groups that it leaves out, the first
            stay. None ranks by L1 norm.

    Raises:
        ModelError: a group is unknown, a width is impossible, or the network cannot be narrowed to it: names the layer.
            Never a wrong network.
    """
    spec = candidate.seed
    given = source is not None
    source = build_seed(spec, random_seed=0) if source is None else source
    seed = couple(source, spec.input_shape)
    if scores is None:
        scores = channel_scores(source, spec) if given else {}
    narrowing = _Narrowing(seed, _shares_kept(seed, candidate), f"{spec.factory} {candidate.structure_id}")
    narrow = narrowing.coupled(source, spec.input_shape)
    kept = narrowing.kept(narrow, _of_classes(seed, scores))
    narrowing.prove(narrow, kept)
    return _carved(source, kept, seed.found.by_whole_groups)


def _carved(source: nn.Module, kept: Kept, by_whole_groups: Container[str]) -> Carving:
    slices = {name: _slice(name, tensor, kept) for name, tensor in tensors_of(source).items()}
    first_names = {id(tensor): name for name, tensor in tensors_of(source).items()}
    tensors = {
        name: slices[name](tensor.detach()).cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors_of(source).items()
    }
    state = source.state_dict(keep_vars=True)
    return Carving(
        resized(source, tensors, by_whole_groups),
        {name: slices[first_names[id(tensor)]] for name, tensor in state.items()},
    )


def _shares_kept(seed: Coupling, candidate: Candidate) -> dict[int, Fraction]:
    """Return for each group that is narrowed what share of it stays."""
    by_name = {located.group.name: (share, located.group) for share, located in seed.groups.items()}
    kept = {}
    for name, width in candidate.widths:
        if name not in by_name:
            raise ModelError(f"no channel group {name!r} in {seed.network}", f"its groups: {', '.join(by_name)}")
        share, group = by_name[name]
        if not 1 <= width <= group.channels or width % group.unit:
            multiple = f" that is a multiple of {group.unit}" if group.unit > 1 else ""
            raise ModelError(f"layer {name!r}: expected a width from 1 to {group.channels}{multiple}, got {width}")
        kept[share] = Fraction(width, group.channels)
    return kept


def _of_classes(seed: Coupling, scores: Scores) -> NDArray[np.float64]:
    found = np.zeros(int(seed.classes.max()) + 1)
    for share, located in seed.groups.items():
        if located.group.name in scores:
            found[seed.group_classes(share)] = scores[located.group.name]
    return found


class _Narrowing:
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
            origin[start : start + length] = seed_ledger.axes[axis][0] + kept[axis]
        met, meet = [*seed_ledger.links, *seed_ledger.orders], [*ledger.links, *ledger.orders]
        if len(met) != len(meet) or not all(
            np.isin(_packed(origin[own]), _packed(seeds)).all() for own, seeds in zip(meet, met, strict=True)
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
        """Return for each class of the narrower network the class of the seed that it stands for."""
        theirs, own = _signatures(self._seed), _signatures(narrow)
        stands_for = np.full(len(own), -1, np.int64)
        for signature in np.unique(own):
            places, choice = np.flatnonzero(own == signature), np.flatnonzero(theirs == signature)
            if len(choice) < len(places):
                axes = [name for name, axis in narrow.found.ledger.axes if places[0] in narrow.classes_of((name, axis))]
                raise ModelError(
                    f"model {self._name!r}: at these widths the channels of {', '.join(map(repr, axes[:3]))} hang "
                    "together in another way than in the seed"
                )
            # A stable sort makes equally important channels go in the same order on every machine.
            best = choice[np.argsort(-scores[choice], kind="stable")[: len(places)]]
            stands_for[places] = np.sort(best)
        return stands_for

    def _positions(self, axis: Axis, wanted: Atoms) -> NDArray[np.int64]:
        classes = self._seed.classes_of(axis)
        found = np.flatnonzero(np.isin(classes, wanted))
        found = found[np.argsort(classes[found], kind="stable")]
        order = np.argsort(wanted, kind="stable")
        if not np.array_equal(classes[found], wanted[order]):
            raise ModelError(
                f"model {self._name!r}: tensor {axis[0]!r} has other channels than the seed's on axis {axis[1]}"
            )
        positions = np.empty(len(wanted), np.int64)
        positions[order] = found
        return positions


def _signatures(coupling: Coupling) -> NDArray[np.uint64]:
    """Return a number for each class that says on which axes it lies, and how often."""
    of_atoms = np.zeros(coupling.found.ledger.size, np.uint64)
    for axis in coupling.found.ledger.axes:
        of_atoms[coupling.atoms(axis)] = int.from_bytes(hashlib.blake2b(repr(axis).encode(), digest_size=8).digest())
    signatures = np.zeros(int(coupling.classes.max()) + 1, np.uint64)
    np.add.at(signatures, coupling.classes, of_atoms)  # sums wrap around, as they do in any hash
    signatures[coupling.classes[FIXED]] = 0
    return signatures


def _packed(pairs: Atoms) -> Atoms:
    packed: Atoms = pairs[:, 0] << 32 | pairs[:, 1]
    return packed


def _slice(name: str, tensor: torch.Tensor, kept: Kept) -> Slice:
    axes: list[torch.Tensor | None] = []
    for axis, size in enumerate(tensor.shape):
        positions = kept.get((name, axis), np.arange(size))
        whole = np.array_equal(positions, np.arange(size))
        axes.append(None if whole else torch.from_numpy(positions))
    return Slice(tuple(axes))
