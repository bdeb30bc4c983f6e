"""c-ratios: the search space as the Cartesian product of one set of width modifiers for each superblock."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scbp_host.domain.candidate import Candidate, SeedSpec, Superblock
from scbp_host.errors import UsageError


def snap_width(channels: int, ratio: float, step: int) -> int:
    """Return the channels to keep: the multiple of ``step`` nearest to ``ratio * channels``, halves up.

    Never below one step, never above the seed's width. A ratio of 1.0 keeps the seed's own width, and so does a group
    narrower than two multiples of the step allow to shrink (8 channels on a step of 32), so that no width comes out
    that the device would have to pad.

    Args:
        channels: the seed's width.
        ratio: width modifier in (0, 1].
        step: the device's channel step, at least 1.
    """
    largest_steps = channels // step
    if ratio == 1.0 or largest_steps == 0:
        return channels
    nearest_steps = math.floor(ratio * channels / step + 0.5)
    return step * min(max(nearest_steps, 1), largest_steps)


@dataclass(frozen=True)
class SearchSpace:
    """Every combination of the superblocks' width modifiers.

    Attributes:
        seed: what candidates are derived from.
        superblocks: in forward order.
        ratio_sets: for each superblock its width modifiers, each in (0, 1], without repeats.
        channel_step: produced widths are multiples of this, save a seed's own width kept whole.

    Raises:
        UsageError: a ratio outside (0, 1], an empty or repeating set, not one set for each superblock, a step below 1.
    """

    seed: SeedSpec
    superblocks: tuple[Superblock, ...]
    ratio_sets: tuple[tuple[float, ...], ...]
    channel_step: int

    def __post_init__(self) -> None:
        """Refuse what is no space."""
        if self.channel_step < 1:
            raise UsageError(f"channel step: expected at least 1, got {self.channel_step}")
        if len(self.ratio_sets) != len(self.superblocks):
            names = ", ".join(block.name for block in self.superblocks)
            raise UsageError(f"ratios: expected one set for each of {names}; got {len(self.ratio_sets)} sets")
        for block, ratios in zip(self.superblocks, self.ratio_sets, strict=True):
            check_ratio_set(ratios, block.name)

    @classmethod
    def uniform(
        cls, seed: SeedSpec, superblocks: tuple[Superblock, ...], ratios: Sequence[float], channel_step: int
    ) -> SearchSpace:
        """Give every superblock the same set of ratios."""
        return cls(seed, superblocks, (tuple(ratios),) * len(superblocks), channel_step)

    @property
    def size(self) -> int:
        """The number of ratio tuples; several may give one structure."""
        return math.prod(len(ratios) for ratios in self.ratio_sets)

    def candidate(self, ratios: Sequence[float]) -> Candidate:
        """Return the candidate of one ratio for each superblock.

        Raises:
            UsageError: a ratio outside (0, 1], or not one for each superblock.
        """
        if len(ratios) != len(self.superblocks):
            raise UsageError(f"ratios {tuple(ratios)}: expected {len(self.superblocks)}, one for each superblock")
        check_ratios(ratios, "candidate")
        widths = tuple(
            (group.name, snap_width(group.channels, ratio, group.width_step(self.channel_step)))
            for block, ratio in zip(self.superblocks, ratios, strict=True)
            for group in block.groups
        )
        return Candidate(self.seed, tuple(ratios), widths)

    def candidates(self) -> Iterator[Candidate]:
        """Yield every structure once, in the product's order; of equal structures the first ratio tuple stands."""
        seen: set[str] = set()
        for ratios in itertools.product(*self.ratio_sets):
            candidate = self.candidate(ratios)
            if candidate.structure_id not in seen:
                seen.add(candidate.structure_id)
                yield candidate


def check_ratio_set(ratios: Sequence[float], name: str) -> None:
    """Raise UsageError naming ``name`` unless ``ratios`` is a set of at least one ratio in (0, 1]."""
    if not ratios:
        raise UsageError(f"ratios of {name}: expected at least one ratio in (0, 1], got none")
    check_ratios(ratios, name)
    if len(set(ratios)) != len(ratios):
        raise UsageError(f"ratios of {name}: expected no repeats, got {tuple(ratios)}")


def check_ratios(ratios: Sequence[float], name: str) -> None:
    """Raise UsageError naming ``name`` unless every ratio is in (0, 1]."""
    for ratio in ratios:
        if not 0.0 < ratio <= 1.0:  # also refuses NaN
            raise UsageError(f"ratios of {name}: expected each in (0, 1], got {ratio:g}")
