"""Which channels must be kept or removed together, and in which groups a width can be chosen.

Two channels are one where they meet: in a residual addition, a gate, a normalisation, a depthwise convolution, or as
what a filter makes and the next one reads. The **classes** of this relation are the smallest things that can be
removed without a trace. A **group** is the classes that share one width: those of one convolution, with all that
shrinks in proportion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from scbp_host.domain.candidate import ChannelGroup
from scbp_host.errors import ModelError
from scbp_host.space.labels import FIXED, Atoms, Axis
from scbp_host.space.operations import Findings
from scbp_host.space.tracing import trace

Resolution = tuple[int, int]


@dataclass(frozen=True)
class LocatedGroup:
    """A coupled group and the (height, width) that most of its convolutions put out (the earliest one on a tie)."""

    group: ChannelGroup
    resolution: Resolution


@dataclass(frozen=True)
class Coupling:
    """The classes and groups of a network.

    Attributes:
        network: the class of the network, for messages.
        found: by following its channels through a forward pass.
        outputs: shapes of what it puts out.
        classes: the class of every atom; of FIXED atoms, ``classes[FIXED]``.
        shares: the same for groups: atoms of one value shrink in proportion.
        layers: names of its Conv2d layers, and of Linear layers over maps, in forward order.
    """

    network: str
    found: Findings
    outputs: tuple[tuple[int, ...], ...]
    classes: Atoms
    shares: Atoms
    layers: tuple[str, ...]

    def atoms(self, axis: Axis) -> slice:
        """Return where the atoms of an axis are in ``classes`` and ``shares``."""
        start, length = self.found.ledger.axes[axis]
        return slice(start, start + length)

    def classes_of(self, axis: Axis) -> Atoms:
        """Return the class of every position of an axis."""
        found: Atoms = self.classes[self.atoms(axis)]
        return found

    @cached_property
    def groups(self) -> dict[int, LocatedGroup]:
        """Every group whose width can be chosen, by its value in ``shares``, in forward order."""
        members: dict[int, list[str]] = {}
        for layer in self.layers:
            axis = (f"{layer}.weight", 0)
            if axis in self.found.ledger.axes:
                members.setdefault(int(self.shares[self.atoms(axis)][0]), []).append(layer)
        members.pop(int(self.shares[FIXED]), None)
        return {share: self._located(share, layers) for share, layers in members.items() if self._is_even(layers)}

    def group_classes(self, share: int) -> Atoms:
        """Return the classes of one group, each once."""
        found: Atoms = np.unique(self.classes[self.shares == share])
        return found

    def _located(self, share: int, layers: list[str]) -> LocatedGroup:
        name = layers[0]
        channels = self._width(name)
        others = {self._width(layer) for layer in layers} | set(self._stepped(share))
        unit = Counter(self.classes_of((f"{name}.weight", 0)).tolist()).most_common(1)[0][1]
        group = ChannelGroup(name, channels, tuple(layers), unit, tuple(sorted(others - {channels})))
        seen = Counter(self.found.resolutions[f"{layer}.weight"] for layer in layers)
        # most_common keeps the order of first sight among equals.
        return LocatedGroup(group, seen.most_common(1)[0][0])

    def _is_even(self, layers: list[str]) -> bool:
        """Tell whether each layer's classes are of one size: else no choice of them would give every width."""
        uneven = [
            own for own in layers if len(set(Counter(self.classes_of((f"{own}.weight", 0)).tolist()).values())) > 1
        ]
        for layer in uneven:
            self.found.frozen.setdefault(layer, "its channels are tied together in bundles of several sizes")
        return not uneven

    def _width(self, layer: str) -> int:
        return self.found.ledger.axes[f"{layer}.weight", 0][1]

    def _stepped(self, share: int) -> Iterator[int]:
        for atoms in self.found.stepped:
            if len(atoms) > 1 and self.shares[int(atoms[0])] == share:
                yield len(atoms)


def couple(
    module: nn.Module, input_shape: tuple[int, int, int], by_whole_groups: frozenset[str] | None = None
) -> Coupling:
    """Find the classes and groups of ``module``.

    Args:
        module: anywhere; left as it was.
        input_shape: (channels, height, width) of one image.
        by_whole_groups: of a narrower network, which of its grouped convolutions have fewer groups than the seed's
            instead of smaller ones; None for a seed.

    Raises:
        ModelError: its forward pass fails.
    """
    traced = trace(module, input_shape, by_whole_groups)
    ledger = traced.found.ledger
    layers = dict(module.named_modules())
    owners = {f"{name}.weight": name for name in layers if isinstance(layers[name], nn.Conv2d | nn.Linear)}
    return Coupling(
        type(module).__name__,
        traced.found,
        traced.outputs,
        _components(ledger.size, [*ledger.links, *ledger.reads]),
        _components(ledger.size, [*ledger.links, *ledger.reads, *ledger.ties]),
        tuple(owners[name] for name in traced.found.resolutions if name in owners),
    )


def coupled_groups(module: nn.Module, input_shape: tuple[int, int, int]) -> tuple[LocatedGroup, ...]:
    """Find every channel group of ``module``'s convolutions whose width can be chosen, in forward order.

    What the network puts out keeps its width, and so does what is bound to the image's channels, a head that is to be
    kept, and whatever enters an operator that is not known.

    Args:
        module: anywhere; left as it was.
        input_shape: (channels, height, width) of one image.

    Raises:
        ModelError: no such group; names the modules that hold channels fast, and why.
    """
    coupling = couple(module, input_shape)
    if not coupling.groups:
        reasons = "; ".join(f"{name or 'the network'!r}: {reason}" for name, reason in coupling.found.frozen.items())
        because = f" ({reasons})" if reasons else ""
        raise ModelError(f"{coupling.network}: has no convolution whose channels could be pruned{because}")
    return tuple(coupling.groups.values())


def _components(size: int, pairs: list[Atoms]) -> NDArray[np.int64]:
    """Number the connected components of ``size`` atoms in the order of their first atoms."""
    edges = np.concatenate([np.zeros((1, 2), np.int64), *pairs])
    graph = coo_array((np.ones(len(edges), np.int32), (edges[:, 0], edges[:, 1])), shape=(size, size))
    _, found = connected_components(graph, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    numbers: NDArray[np.int64] = np.argsort(np.argsort(first))[inverse]
    return numbers
