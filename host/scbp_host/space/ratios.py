"""The search space: superblocks, a set of c-ratio tuples over them, and the distinct networks these come out as."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from scbp_host.domain.candidate import Candidate, SeedSpec, Superblock
from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import AnyRatioSet, FilteredSet, Ratios, RatioSet, SetSize, explicit, product, where
from scbp_host.space.ratio_sets.families import check_ratios
from scbp_host.space.ratio_sets.filters import Filter


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


def block_widths(block: Superblock, ratio: float, channel_step: int) -> tuple[int, ...]:
    """Return the channels that each group of ``block`` keeps at ``ratio``."""
    return tuple(snap_width(group.channels, ratio, group.width_step(channel_step)) for group in block.groups)


@dataclass(frozen=True)
class SearchSpace:
    """Every network that a set of ratio tuples comes out as, each once.

    Two ratios of one superblock may snap to the same widths. They are one then, before anything is counted or drawn:
    :attr:`structures` holds the first of them only.

    Attributes:
        seed: what candidates are derived from.
        superblocks: in forward order.
        ratio_set: one ratio for each superblock in every tuple.
        channel_step: produced widths are multiples of this, save a seed's own width kept whole.

    Raises:
        UsageError: the set is empty or not over as many superblocks, or a step below 1.
    """

    seed: SeedSpec
    superblocks: tuple[Superblock, ...]
    ratio_set: AnyRatioSet
    channel_step: int

    def __post_init__(self) -> None:
        """Refuse what is no space."""
        if self.channel_step < 1:
            raise UsageError(f"channel step: expected at least 1, got {self.channel_step}")
        if self.ratio_set.superblocks != len(self.superblocks):
            names = ", ".join(block.name for block in self.superblocks)
            raise UsageError(f"ratios: expected one for each of {names}; got {self.ratio_set.superblocks}")
        if self._base.size == 0:
            raise UsageError("ratios: the set is empty", "docs/space.md shows how sets are composed")

    @classmethod
    def uniform(
        cls, seed: SeedSpec, superblocks: tuple[Superblock, ...], ratios: Sequence[float], channel_step: int
    ) -> SearchSpace:
        """Give every superblock the same ratios, in all combinations."""
        return cls(seed, superblocks, product((tuple(ratios),) * len(superblocks)), channel_step)

    @cached_property
    def structures(self) -> AnyRatioSet:
        """One tuple for each distinct network; of ratios with equal widths the largest stands for all."""
        merged = self._base.renamed(self._representatives)
        if isinstance(self.ratio_set, RatioSet):
            return merged
        condition = Filter(self.ratio_set.condition.name, lambda structure: self._origin(structure) is not None)
        return where(merged, condition)

    def estimate_size(self, random_seed: int = 0) -> SetSize:
        """Return the number of distinct networks: exact, save for a large filtered space."""
        return self.structures.estimate_size(random_seed)

    @property
    def alphabets(self) -> tuple[tuple[float, ...], ...]:
        """The ratios that occur at each superblock, the largest first."""
        return self._base.alphabets

    def candidate(self, ratios: Sequence[float]) -> Candidate:
        """Return the candidate of one ratio for each superblock.

        Raises:
            UsageError: a ratio outside (0, 1], or not one for each superblock.
        """
        if len(ratios) != len(self.superblocks):
            raise UsageError(f"ratios {tuple(ratios)}: expected {len(self.superblocks)}, one for each superblock")
        check_ratios(ratios, "candidate")
        widths = tuple(
            (group.name, width)
            for block, ratio in zip(self.superblocks, ratios, strict=True)
            for group, width in zip(block.groups, block_widths(block, ratio, self.channel_step), strict=True)
        )
        return Candidate(self.seed, tuple(ratios), widths)

    def candidates(self) -> Iterator[Candidate]:
        """Yield every network once, the widest first; of ratio tuples that give one network the first stands."""
        return map(self._candidate_of, self.structures)

    def derived(self) -> Iterator[Candidate]:
        """Yield :meth:`candidates` without the seed itself."""
        return map(self._candidate_of, self._without_seed)

    def sample(self, count: int, random_seed: int) -> list[Candidate]:
        """Draw ``count`` of :meth:`derived` uniformly without replacement, or as many as there are."""
        return [self._candidate_of(structure) for structure in self._without_seed.sample(count, random_seed)]

    def narrowest(self) -> Candidate | None:
        """Return the network of the least sum of ratios; None where a filter refuses it or only the seed is there."""
        without_seed = self._without_seed
        base = without_seed.base if isinstance(without_seed, FilteredSet) else without_seed
        if base.size == 0 or (least := base.least()) not in without_seed:
            return None
        return self._candidate_of(least)

    @property
    def _base(self) -> RatioSet:
        return self.ratio_set.base if isinstance(self.ratio_set, FilteredSet) else self.ratio_set

    @cached_property
    def _representatives(self) -> tuple[dict[float, float], ...]:
        """For each superblock, ratio -> the largest ratio of the set with the same widths."""
        found = []
        for block, ratios in zip(self.superblocks, self._base.alphabets, strict=True):
            largest: dict[tuple[int, ...], float] = {}
            found.append({own: largest.setdefault(block_widths(block, own, self.channel_step), own) for own in ratios})
        return tuple(found)

    @cached_property
    def _without_seed(self) -> AnyRatioSet:
        # A superblock that the set never leaves whole has no such name; then 1.0 is in no structure either.
        whole = [block_widths(block, 1.0, self.channel_step) for block in self.superblocks]
        seed = [
            next((name for name in names.values() if block_widths(block, name, self.channel_step) == widths), 1.0)
            for block, names, widths in zip(self.superblocks, self._representatives, whole, strict=True)
        ]
        return self.structures - explicit([seed])

    def _candidate_of(self, structure: Ratios) -> Candidate:
        origin = self._origin(structure)
        assert origin is not None, "a structure comes from a ratio tuple"
        return self.candidate(origin)

    def _origin(self, structure: Ratios) -> Ratios | None:
        """Return the set's first tuple that comes out as ``structure``; None where a filter refuses all."""
        if structure in self.ratio_set:
            return structure  # larger than whatever else snaps to it, so the first
        classes = [
            [ratio for ratio, name in own.items() if name == wanted]
            for own, wanted in zip(self._representatives, structure, strict=True)
        ]
        if all(len(ratios) == 1 for ratios in classes):
            return None  # nothing else snaps to it, and filters refuse thousands in a draw
        return next(iter(self.ratio_set & product(classes)), None)
