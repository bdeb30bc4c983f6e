"""Parameters and MACs of every point of a space without building it: what a filter asks of thousands of candidates.

Each side of each weight is an affine function of the channel groups' widths: the seed's side, less a share of what
each group lost. The shares are those that :func:`scbp_host.space.slices.carve` narrows by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.space.cost import Cost, cost
from scbp_host.space.coupling import Coupling, couple
from scbp_host.space.labels import Axis
from scbp_host.space.ratio_sets import Ratios
from scbp_host.space.ratio_sets.expression import Figure
from scbp_host.space.ratios import block_widths
from scbp_host.space.seeds import build_seed

Array = NDArray[np.float64]

# Tuples whose figures are remembered: a set asks for the same one again when it is listed.
_REMEMBERED = 65_536


def structure_figures(seed: SeedSpec, superblocks: Sequence[Superblock], channel_step: int) -> Mapping[str, Figure]:
    """Return ``params`` and ``macs`` as functions of a ratio tuple; the seed is built on the first call."""
    groups = [group for block in superblocks for group in block.groups]

    @cache
    def table() -> CostTable:
        return CostTable(seed, groups)

    @lru_cache(_REMEMBERED)
    def of(ratios: Ratios) -> Cost:
        pairs = zip(superblocks, ratios, strict=True)
        return table().cost([width for block, ratio in pairs for width in block_widths(block, ratio, channel_step)])

    return {"params": lambda ratios: of(ratios).params, "macs": lambda ratios: of(ratios).macs}


class CostTable:
    """Exact costs of a seed's derived networks.

    Args:
        seed: what they are derived from.
        groups: its channel groups, in the order in which widths will be given.
    """

    def __init__(self, seed: SeedSpec, groups: Sequence[ChannelGroup]) -> None:
        module = build_seed(seed, random_seed=0)
        coupling = couple(module, seed.input_shape)
        columns = {group.name: column for column, group in enumerate(groups)}
        self._full = np.asarray([group.channels for group in groups], dtype=np.float64)
        sides = [_side(coupling, axis, size, columns) for axis, size in _axes(module)]
        self._sides = np.asarray([size for size, _ in sides], dtype=np.float64)
        self._slopes = np.stack([slopes for _, slopes in sides])
        ranks = [max(parameter.ndim, 1) for parameter in module.parameters()]
        self._starts = np.cumsum([0, *ranks[:-1]])
        uses = coupling.found.uses
        self._uses = np.asarray([uses[name] for name, _ in module.named_parameters()], dtype=np.float64)
        # Products of feature maps: their channels stay, and so do these.
        self._constant_macs = 0
        self._constant_macs = cost(module, seed.input_shape).macs - self.cost([group.channels for group in groups]).macs

    def cost(self, widths: Sequence[int]) -> Cost:
        """Return the cost of the network with these widths, one for each group."""
        sides = np.rint(self._sides + self._slopes @ (np.asarray(widths, dtype=np.float64) - self._full))
        sizes = np.multiply.reduceat(sides, self._starts)
        return Cost(int(sizes.sum()), int(sizes @ self._uses) + self._constant_macs)

    def work(self, widths: Array) -> tuple[Array, Array]:
        """Return multiply-accumulates and numbers moved of every parameter; see :class:`LayerWork`.

        Args:
            widths: ``(n, n_groups)``.
        """
        sides = self._sides + (widths - self._full) @ self._slopes.T
        sizes = np.multiply.reduceat(sides, self._starts, axis=1)
        # The first side of a weight is its outputs; each is written and read once at every place.
        return sizes * self._uses, sizes + 2.0 * self._uses * sides[:, self._starts]


class LayerWork:
    """What every layer of a seed's derived networks has to do, as a function of relative superblock widths.

    Args:
        table: of the seed.
        superblocks: whose groups are the table's, in its order.
    """

    def __init__(self, table: CostTable, superblocks: Sequence[Superblock]) -> None:
        self._table = table
        groups = [(column, group) for column, block in enumerate(superblocks) for group in block.groups]
        self._expand = np.zeros((len(superblocks), len(groups)))
        for row, (column, group) in enumerate(groups):
            self._expand[column, row] = group.channels

    def of(self, widths: Array) -> tuple[Array, Array]:
        """Return multiply-accumulates and numbers moved, each ``(n, n_parameters)``.

        A layer reads its weights and writes its outputs, which the next one reads. Widths are not snapped to channel
        steps: between them, the figures are those of networks with broken channels.

        Args:
            widths: ``(n, n_superblocks)`` channels kept / the seed's channels.
        """
        return self._table.work(widths @ self._expand)


def _axes(module: nn.Module) -> Iterator[tuple[Axis, int]]:
    """Yield every axis of every parameter with its length; a scalar has one of length 1."""
    for name, parameter in module.named_parameters():
        for axis, size in enumerate(tuple(parameter.shape) or (1,)):
            yield (name, axis), size


def _side(coupling: Coupling, axis: Axis, size: int, columns: Mapping[str, int]) -> tuple[int, Array]:
    """Return an axis's length in the seed, and how much of it goes with one channel of each group."""
    slopes = np.zeros(len(columns))
    if axis in coupling.found.ledger.axes:
        shares, counts = np.unique(coupling.shares[coupling.atoms(axis)], return_counts=True)
        for share, count in zip(shares.tolist(), counts.tolist(), strict=True):
            if share in coupling.groups:
                group = coupling.groups[share].group
                slopes[columns[group.name]] = count / group.channels
    return size, slopes
