"""Parameters and MACs of every point of a space without building it: what a filter asks of thousands of candidates.

Each side of each weight is an affine function of the channel groups' widths: the seed's side, plus for every group a
slope times the channels that went. Narrowing one group at a time shows the slopes; a network narrowed everywhere at
once proves them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.candidate import Candidate, ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import ModelError
from scbp_host.space.cost import Cost, cost
from scbp_host.space.derive import derive
from scbp_host.space.ratio_sets import Ratios
from scbp_host.space.ratio_sets.expression import Figure
from scbp_host.space.ratios import block_widths

Array = NDArray[np.float64]

# Tuples whose figures are remembered: a set asks for the same one again when it is listed.
_REMEMBERED = 65_536


def structure_figures(seed: SeedSpec, superblocks: Sequence[Superblock], channel_step: int) -> Mapping[str, Figure]:
    """Return ``params`` and ``macs`` as functions of a ratio tuple; the network is looked at on the first call.

    Raises:
        ModelError: (on the first call) the sides of a weight do not follow the widths.
    """
    groups = [group for block in superblocks for group in block.groups]

    @cache
    def table() -> CostTable:
        return CostTable(seed, groups, channel_step)

    @lru_cache(_REMEMBERED)
    def of(ratios: Ratios) -> Cost:
        pairs = zip(superblocks, ratios, strict=True)
        return table().cost([width for block, ratio in pairs for width in block_widths(block, ratio, channel_step)])

    return {"params": lambda ratios: of(ratios).params, "macs": lambda ratios: of(ratios).macs}


class CostTable:
    """Exact costs of a seed's derived networks.

    Args:
        seed: what they are derived from.
        groups: its channel groups.
        channel_step: of the widths that will be asked for.

    Raises:
        ModelError: the sides of a weight do not follow the widths.
    """

    def __init__(self, seed: SeedSpec, groups: Sequence[ChannelGroup], channel_step: int) -> None:
        self._full = np.asarray([group.channels for group in groups], dtype=np.float64)
        steps = [min(group.width_step(channel_step), group.channels) for group in groups]
        whole = derive(Candidate(seed, (), ()))
        self._sides, self._starts = _sides(whole)
        self._positions = _positions(whole, seed.input_shape)
        self._slopes = np.zeros((len(self._sides), len(groups)))
        for column, (group, step) in enumerate(zip(groups, steps, strict=True)):
            # A group of one step cannot be narrowed, so its slope is never asked for.
            if group.channels > step:
                narrowed, _ = _sides(derive(Candidate(seed, (), ((group.name, group.channels - step),))))
                self._slopes[:, column] = (self._sides - narrowed) / step
        self._prove(seed, groups, steps)

    def cost(self, widths: Sequence[int]) -> Cost:
        """Return the cost of the network with these widths, one for each group."""
        sides = np.rint(self._sides + self._slopes @ (np.asarray(widths, dtype=np.float64) - self._full))
        sizes = np.multiply.reduceat(sides, self._starts)
        return Cost(int(sizes.sum()), int(sizes @ self._positions))

    def _prove(self, seed: SeedSpec, groups: Sequence[ChannelGroup], steps: Sequence[int]) -> None:
        narrowest = derive(
            Candidate(seed, (), tuple((group.name, step) for group, step in zip(groups, steps, strict=True)))
        )
        counted, expected = cost(narrowest, seed.input_shape), self.cost(steps)
        if counted != expected:
            raise ModelError(
                f"{seed.factory}: has weights whose sizes do not follow its channel widths "
                f"(expected {expected.params} parameters, counted {counted.params})",
                "leave params and macs out of the filters of this space",
            )


def _sides(module: nn.Module) -> tuple[Array, NDArray[np.intp]]:
    """Return all sides of all parameters in one array, and where each parameter begins; a scalar has one side of 1."""
    shapes = [tuple(parameter.shape) or (1,) for parameter in module.parameters()]
    starts = np.cumsum([0, *(len(shape) for shape in shapes[:-1])])
    return np.asarray([side for shape in shapes for side in shape], dtype=np.float64), starts


def _positions(module: nn.Module, input_shape: tuple[int, int, int]) -> Array:
    """Return for each parameter how often one image multiplies by it: 0 unless a Conv2d's or Linear's weight."""
    often: Counter[int] = Counter()

    def record(layer: nn.Conv2d | nn.Linear, _inputs: object, output: torch.Tensor) -> None:
        often[id(layer.weight)] += output.numel() // layer.weight.shape[0]

    hooks = [m.register_forward_hook(record) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with torch.inference_mode():
            module(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return np.asarray([often[id(parameter)] for parameter in module.parameters()], dtype=np.float64)
