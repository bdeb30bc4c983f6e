"""The sets that others are composed of; each is compiled to a diagram of a few nodes, however many members it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets.base import RatioSet
from scbp_host.space.ratio_sets.diagram import State, Step, compile_diagram


def product(ratio_sets: Sequence[Sequence[float]]) -> RatioSet:
    """Return the Cartesian product of one set of ratios for each superblock.

    Raises:
        UsageError: no superblock, an empty or repeating set, or a ratio outside (0, 1].
    """
    for number, ratios in enumerate(ratio_sets, start=1):
        check_ratio_set(ratios, f"superblock {number}")
    return _compiled(len(ratio_sets), 0, lambda position, _: ((ratio, 0) for ratio in ratio_sets[position]))


def uniform(ratios: Sequence[float], superblocks: int) -> RatioSet:
    """Return the classic width multipliers: one of ``ratios`` in all superblocks alike; raises UsageError."""
    check_ratio_set(ratios, "uniform")
    return explicit([(ratio,) * superblocks for ratio in ratios])


def non_increasing(ratios: Sequence[float], superblocks: int) -> RatioSet:
    """Return the tuples that never grow with depth; raises UsageError."""
    check_ratio_set(ratios, "non_increasing")

    def step(_: int, last: float) -> Iterator[tuple[float, float]]:
        return ((ratio, ratio) for ratio in ratios if ratio <= last)

    return _compiled(superblocks, 1.0, step)


def non_decreasing(ratios: Sequence[float], superblocks: int) -> RatioSet:
    """Return the tuples that never shrink with depth; raises UsageError."""
    check_ratio_set(ratios, "non_decreasing")

    def step(_: int, last: float) -> Iterator[tuple[float, float]]:
        return ((ratio, ratio) for ratio in ratios if ratio >= last)

    return _compiled(superblocks, 0.0, step)


def permutations(multiset: Sequence[float]) -> RatioSet:
    """Return the distinct orders of a multiset with one ratio for each superblock; raises UsageError."""
    check_ratios(multiset, "permutations")
    values = sorted(set(multiset))
    counts = Counter(multiset)

    def step(_: int, left: tuple[int, ...]) -> Iterator[tuple[float, tuple[int, ...]]]:
        for number, count in enumerate(left):
            if count:
                yield values[number], (*left[:number], count - 1, *left[number + 1 :])

    return _compiled(len(multiset), tuple(counts[value] for value in values), step)


def one_at_a_time(ratios: Sequence[float], superblocks: int) -> RatioSet:
    """Return the tuples in which one superblock has one of ``ratios`` and all others stay at 1; raises UsageError."""
    check_ratio_set(ratios, "one_at_a_time")
    whole = (1.0,) * superblocks
    return explicit([(*whole[:place], ratio, *whole[place + 1 :]) for place in range(superblocks) for ratio in ratios])


def explicit(tuples: Sequence[Sequence[float]]) -> RatioSet:
    """Return the set of these tuples, each once.

    Raises:
        UsageError: no tuple, tuples of several lengths, or a ratio outside (0, 1].
    """
    lengths = {len(ratios) for ratios in tuples}
    if len(lengths) != 1:
        raise UsageError(f"ratios: expected tuples of one length, got lengths {sorted(lengths) or 'of none'}")
    for ratios in tuples:
        check_ratios(ratios, "explicit")

    # A state is where the sorted tuples with one prefix begin and end: as small as the trie, and cheap to compare.
    ordered = sorted({tuple(map(float, ratios)) for ratios in tuples})

    def step(position: int, span: tuple[int, int]) -> Iterator[tuple[float, tuple[int, int]]]:
        begin, end = span
        while begin < end:
            value, first = ordered[begin][position], begin
            while begin < end and ordered[begin][position] == value:
                begin += 1
            yield value, (first, begin)

    return _compiled(lengths.pop(), (0, len(ordered)), step)


def _compiled(superblocks: int, start: State, step: Step[State]) -> RatioSet:
    if superblocks < 1:
        raise UsageError("ratios: expected at least one superblock")

    def as_floats(position: int, state: State) -> Iterator[tuple[float, State]]:
        return ((float(ratio), following) for ratio, following in step(position, state))

    return RatioSet(compile_diagram(superblocks, start, as_floats, lambda state: True))


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
