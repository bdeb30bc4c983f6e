"""Sets that a condition thins out: only trying tells who belongs, so they are drawn by rejection and estimated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from scbp_host.space.ratio_sets.base import Ratios, RatioSet, SetSize

# A filter that refuses this many in a row ends a draw: what is rarer cannot be found by rejection in useful time.
REJECTION_LIMIT = 20_000
# Draws of an estimate: its 95 % interval is at most 3.2 % of the unfiltered set wide.
ESTIMATE_DRAWS = 4096


@dataclass(frozen=True)
class Filter:
    """A condition on ratio tuples.

    Attributes:
        name: what it asks for, e.g. ``max_params=5e+06``.
        accepts: the answer for one tuple; must always be the same for the same tuple.
    """

    name: str
    accepts: Callable[[Ratios], bool]


@dataclass(frozen=True)
class FilteredSet:
    """The members of ``base`` that ``condition`` accepts; made by :func:`where`.

    ``|``, ``&`` and ``-`` combine it with filtered and unfiltered sets alike, ``in`` is membership, and iteration is in
    ``base``'s order.

    Attributes:
        base: a superset that is counted exactly.
        condition: what its members must meet.
    """

    base: RatioSet
    condition: Filter

    @property
    def superblocks(self) -> int:
        """Ratios in each tuple."""
        return self.base.superblocks

    def __contains__(self, ratios: Sequence[float]) -> bool:
        return ratios in self.base and self.condition.accepts(tuple(ratios))

    def __iter__(self) -> Iterator[Ratios]:
        return filter(self.condition.accepts, self.base)

    def __or__(self, other: RatioSet | FilteredSet) -> FilteredSet:
        return _combined(_base(self) | _base(other), self, "|", other, lambda left, right: left or right)

    def __and__(self, other: RatioSet | FilteredSet) -> FilteredSet:
        if isinstance(other, RatioSet):
            return FilteredSet(self.base & other, self.condition)
        return _combined(self.base & other.base, self, "&", other, lambda left, right: left and right)

    def __sub__(self, other: RatioSet | FilteredSet) -> FilteredSet:
        if isinstance(other, RatioSet):
            return FilteredSet(self.base - other, self.condition)
        # A member of other's base may still fail other's condition, so that nothing can be taken from the base.
        return _combined(self.base, self, "-", other, lambda left, right: left and not right)

    # A RatioSet on the left does not know filters and leaves the work to these.
    def __ror__(self, other: RatioSet) -> FilteredSet:
        return _combined(other | self.base, other, "|", self, lambda left, right: left or right)

    def __rand__(self, other: RatioSet) -> FilteredSet:
        return FilteredSet(other & self.base, self.condition)

    def __rsub__(self, other: RatioSet) -> FilteredSet:
        return _combined(other, other, "-", self, lambda left, right: left and not right)

    def shuffled(self, random_seed: int) -> Iterator[Ratios]:
        """Yield members in a uniformly random order, each once, until REJECTION_LIMIT tuples in a row are refused."""
        refused = 0
        for ratios in self.base.shuffled(random_seed):
            if self.condition.accepts(ratios):
                refused = 0
                yield ratios
            elif (refused := refused + 1) == REJECTION_LIMIT:
                return

    def sample(self, count: int, random_seed: int) -> list[Ratios]:
        """Draw at most ``count`` members uniformly without replacement, as far as :meth:`shuffled` finds them."""
        return list(itertools.islice(self.shuffled(random_seed), count))

    def estimate_size(self, random_seed: int = 0) -> SetSize:
        """Count the members of a small base; of a larger one estimate them, with a 95 % interval.

        The interval is Clopper and Pearson's for a binomial share ("The use of confidence or fiducial limits",
        Biometrika, 1934). Draws without replacement vary less than binomial ones, so it is on the wide side.
        """
        accepted = sum(map(self.condition.accepts, self.base.sample(ESTIMATE_DRAWS, random_seed)))
        if self.base.size <= ESTIMATE_DRAWS:
            return SetSize(accepted, accepted, accepted)
        share = stats.binomtest(accepted, ESTIMATE_DRAWS).proportion_ci(0.95, method="exact")
        size = self.base.size
        return SetSize(*(round(part * size) for part in (accepted / ESTIMATE_DRAWS, share.low, share.high)))


AnyRatioSet = RatioSet | FilteredSet


def where(ratio_set: AnyRatioSet, condition: Filter) -> FilteredSet:
    """Return the members that ``condition`` accepts; filters add up."""
    if isinstance(ratio_set, RatioSet):
        return FilteredSet(ratio_set, condition)
    return ratio_set & FilteredSet(ratio_set.base, condition)


def _base(ratio_set: AnyRatioSet) -> RatioSet:
    return ratio_set.base if isinstance(ratio_set, FilteredSet) else ratio_set


def _combined(
    base: RatioSet, left: AnyRatioSet, sign: str, right: AnyRatioSet, rule: Callable[[bool, bool], bool]
) -> FilteredSet:
    name = f"({_name(left)} {sign} {_name(right)})"
    return FilteredSet(base, Filter(name, lambda ratios: rule(ratios in left, ratios in right)))


def _name(ratio_set: AnyRatioSet) -> str:
    return ratio_set.condition.name if isinstance(ratio_set, FilteredSet) else "set"
