"""Convlayer binning: coupled channel groups into superblocks, which share one width modifier each."""

from __future__ import annotations

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.space.coupling import Resolution, coupled_groups
from scbp_host.space.seeds import build_seed


def bin_by_stage(spec: SeedSpec) -> tuple[Superblock, ...]:
    """Bin the seed's channel groups by the spatial resolution that most of their convolutions put out.

    Every group belongs to exactly one superblock; superblocks and the groups in them are in forward order. The
    classifier's own output is in none.

    Args:
        spec: the seed.

    Returns:
        superblocks named ``stage-HxW``.

    Raises:
        ModelError: the seed cannot be built, traced, or has nothing to prune.
    """
    bins: dict[Resolution, list[ChannelGroup]] = {}
    for located in coupled_groups(build_seed(spec, random_seed=0), spec.input_shape):
        bins.setdefault(located.resolution, []).append(located.group)
    return tuple(
        Superblock(f"stage-{height}x{width}", (height, width), tuple(groups))
        for (height, width), groups in bins.items()
    )
