"""Which entries of the seed's tensors a candidate keeps, so that it can share them instead of owning a copy.

A candidate is pruned once on a copy of the seed whose every tensor holds its own positions 0, 1, 2...: what is left
says where it came from, whatever torch-pruning did.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.space.coupling import trace
from scbp_host.space.derive import apply_cuts, plan_cuts, verify


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
class Scattered:
    """A part that is no product of one choice for each axis, as where each group of a grouped convolution differs.

    Attributes:
        positions: int64 flat positions in the seed's tensor, in the smaller tensor's shape.
    """

    positions: torch.Tensor

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of ``tensor``, on its device; gradients flow back into the entries kept."""
        return tensor.take(self.positions.to(tensor.device))


@dataclass(frozen=True)
class Carving:
    """A candidate as a part of its seed.

    Attributes:
        module: what :func:`scbp_host.space.derive.derive` returns, in eval mode on the CPU.
        slices: for every parameter and buffer by name, what the candidate keeps of the seed's.
    """

    module: nn.Module
    slices: Mapping[str, Slice | Scattered]


def carve(candidate: Candidate, source: nn.Module) -> Carving:
    """Derive the candidate from a trained seed, and say which of the seed's entries each of its tensors holds.

    Args:
        candidate: which widths.
        source: a trained seed, whose importance decides which channels stay. It stays as it is.

    Raises:
        ModelError: as :func:`scbp_host.space.derive.derive`.
    """
    module = copy.deepcopy(source).cpu().eval()
    whole = module.state_dict(keep_vars=False)
    graph = trace(module, candidate.seed.input_shape)
    cuts = plan_cuts(graph, module, candidate, by_importance=True)
    for tensor in _tensors(module).values():
        tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    apply_cuts(graph, cuts)
    slices = {name: _slice(tensor.data.long(), whole[name].shape) for name, tensor in _tensors(module).items()}
    for name, tensor in _tensors(module).items():
        tensor.data = slices[name](whole[name])
    verify(module, candidate, cuts)
    return Carving(module, slices)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.state_dict(keep_vars=True))


def _slice(positions: torch.Tensor, shape: torch.Size) -> Slice | Scattered:
    """Read the kept indices of each axis off the flat ``positions`` in a tensor of ``shape``."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axes = [
        positions.movedim(axis, 0).reshape(positions.shape[axis], -1)[:, 0] // stride % size
        for axis, (stride, size) in enumerate(zip(strides, shape, strict=True))
    ]
    product = torch.zeros((), dtype=torch.int64)
    for kept, stride in zip(axes, strides, strict=True):
        product = product.unsqueeze(-1) + kept * stride
    if not torch.equal(product, positions):
        return Scattered(positions)
    return Slice(tuple(None if len(kept) == size else kept for kept, size in zip(axes, shape, strict=True)))
