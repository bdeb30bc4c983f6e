"""A set of c-ratio tuples as a plain value: counted, drawn from, iterated and combined without being listed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets.diagram import Diagram, combine
from scbp_host.space.ratio_sets.sampling import shuffled_range

# One width modifier in (0, 1] for each superblock, in forward order.
Ratios = tuple[float, ...]


@dataclass(frozen=True)
class SetSize:
    """How many tuples a set has, with the 95 % interval of that figure; both ends equal it where it was counted."""

    value: int
    low: int
    high: int

    @property
    def exact(self) -> bool:
        """Whether it was counted and not estimated."""
        return self.low == self.high


@dataclass(frozen=True)
class RatioSet:
    """An immutable set of ratio tuples; the functions of ``families.py`` make them.

    ``|``, ``&`` and ``-`` are union, intersection and difference, ``in`` is membership, ``==`` is equality as sets, and
    iteration is in lexicographic order of descending ratios: the widest network first. ``ratio_set[k]`` is the k-th
    tuple of that order. Nothing here lists the set, so it may have 10^12 members and more.

    Attributes:
        diagram: the members; see :class:`~scbp_host.space.ratio_sets.diagram.Diagram`.
    """

    diagram: Diagram

    @property
    def superblocks(self) -> int:
        """Ratios in each tuple."""
        return len(self.diagram.layers)

    @property
    def size(self) -> int:
        """The exact number of members; an int of any size, which ``len()`` could not return."""
        return self.diagram.size

    @property
    def alphabets(self) -> tuple[tuple[float, ...], ...]:
        """The ratios that occur at each superblock, the largest first."""
        return tuple(
            tuple(sorted({value for node in layer for value, _ in node}, reverse=True)) for layer in self.diagram.layers
        )

    def __iter__(self) -> Iterator[Ratios]:
        return iter(self.diagram)

    def __contains__(self, ratios: Sequence[float]) -> bool:
        return self.diagram.rank(ratios) is not None

    def __getitem__(self, rank: int) -> Ratios:
        if not 0 <= rank < self.size:
            raise IndexError(f"rank {rank}: expected 0 to {self.size - 1}")
        return self.diagram.at(rank)

    def index(self, ratios: Sequence[float]) -> int:
        """Return a member's 0-based place in the iteration order; raises ValueError where it is no member."""
        rank = self.diagram.rank(ratios)
        if rank is None:
            raise ValueError(f"{tuple(ratios)} is not in the set")
        return rank

    def __or__(self, other: RatioSet) -> RatioSet:
        return self._combined(other, lambda left, right: left or right, lambda left, right: left or right)

    def __and__(self, other: RatioSet) -> RatioSet:
        return self._combined(other, lambda left, right: left and right, lambda left, right: left and right)

    def __sub__(self, other: RatioSet) -> RatioSet:
        return self._combined(other, lambda left, right: left, lambda left, right: left and not right)

    def shuffled(self, random_seed: int) -> Iterator[Ratios]:
        """Yield every member once in a uniformly random order; memory grows with what was drawn."""
        return (self.diagram.at(rank) for rank in shuffled_range(self.size, random_seed))

    def sample(self, count: int, random_seed: int) -> list[Ratios]:
        """Draw ``count`` members uniformly without replacement; all of them where there are fewer."""
        return list(itertools.islice(self.shuffled(random_seed), count))

    def least(self) -> Ratios:
        """Return the member with the least sum of ratios, the first of equals.

        Raises:
            ValueError: the set is empty.
        """
        if self.size == 0:
            raise ValueError("an empty set has no least member")
        return self.diagram.least()

    def renamed(self, names: Sequence[Mapping[float, float]]) -> RatioSet:
        """Return the tuples with every ratio replaced by its name at that superblock; equal ones are one.

        Args:
            names: for each superblock a name for every ratio that occurs there.
        """
        return RatioSet(self.diagram.relabelled(names))

    def estimate_size(self, random_seed: int = 0) -> SetSize:
        """Return the exact size, in the form that a filtered set can only estimate."""
        return SetSize(self.size, self.size, self.size)

    def _combined(
        self, other: object, lives: Callable[[bool, bool], bool], accepts: Callable[[bool, bool], bool]
    ) -> RatioSet:
        if not isinstance(other, RatioSet):
            return NotImplemented  # type: ignore[no-any-return]  # a filtered set on the right has operators of its own
        if other.superblocks != self.superblocks:
            lengths = f"{self.superblocks} superblocks cannot be combined with one over {other.superblocks}"
            raise UsageError(f"ratios: a set over {lengths}")
        return RatioSet(combine(self.diagram, other.diagram, lives, accepts))
