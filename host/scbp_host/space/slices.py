"""A candidate as a part of its seed: which entries of every tensor it keeps."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.errors import ModelError
from scbp_host.space.coupling import Coupling, couple
from scbp_host.space.importance import Scores, channel_scores
from scbp_host.space.layers import resized, tensors_of
from scbp_host.space.narrowing import BLANK, Kept, Narrowing
from scbp_host.space.seeds import build_seed


@dataclass(frozen=True)
class Slice:
    """The part of one tensor that a smaller network keeps.

    Attributes:
        axes: for each axis the int64 indices kept, in order, -1 for zeros; None keeps the whole axis.
    """

    axes: tuple[torch.Tensor | None, ...]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of ``tensor``, on its device; gradients flow back into the entries kept."""
        for axis, kept in enumerate(self.axes):
            if kept is not None:
                kept = kept.to(tensor.device)
                tensor = tensor.index_select(axis, kept.clamp(min=0))
                blank = (kept == BLANK).reshape([-1 if own == axis else 1 for own in range(tensor.ndim)])
                tensor = tensor.masked_fill(blank, 0) if bool(blank.any()) else tensor
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
    if source is None:
        return Carver(build_seed(spec, random_seed=0), spec, scores or {}).carve(candidate)
    return Carver(source, spec, channel_scores(source, spec) if scores is None else scores).carve(candidate)


class Carver:
    """Cuts many candidates out of one seed, whose channels are followed only once.

    Args:
        source: the seed; it stays as it is.
        spec: what it was built from.
        scores: as for :func:`carve`.
    """

    def __init__(self, source: nn.Module, spec: SeedSpec, scores: Scores) -> None:
        self._source, self._spec = source, spec
        self._seed = couple(source, spec.input_shape)
        self._importance = _of_classes(self._seed, scores)

    def carve(self, candidate: Candidate) -> Carving:
        """Return the carving of a candidate of this seed; raises as :func:`carve` does."""
        seed, spec = self._seed, self._spec
        narrowing = Narrowing(seed, _shares_kept(seed, candidate), f"{spec.factory} {candidate.structure_id}")
        narrow = narrowing.coupled(self._source, spec.input_shape)
        kept = narrowing.kept(narrow, self._importance)
        narrowing.prove(narrow, kept)
        return _carved(self._source, kept, seed.found.by_whole_groups)


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


def _slice(name: str, tensor: torch.Tensor, kept: Kept) -> Slice:
    axes: list[torch.Tensor | None] = []
    for axis, size in enumerate(tensor.shape):
        positions = kept.get((name, axis), np.arange(size))
        whole = np.array_equal(positions, np.arange(size))
        axes.append(None if whole else torch.from_numpy(positions))
    return Slice(tuple(axes))
