"""Convlayer binning: coupled channel groups into superblocks, which share one width modifier each.

A group is never split. Where a method would part the layers of one, the group stays whole on one side, and the binning
says so.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import UsageError
from scbp_host.space.coupling import LocatedGroup, Resolution
from scbp_host.space.cutting import equal_cuts
from scbp_host.space.survey import Survey, survey_seed

Method = Literal["stage", "params", "macs", "latency"]
# A superblock's name -> module names, prefixes or globs.
Names = Mapping[str, Sequence[str]]

_TAKE_THE_REST = 'a superblock with the pattern "*" takes what no longer pattern names'


@dataclass(frozen=True)
class Binning:
    """A seed's superblocks.

    Attributes:
        superblocks: in forward order; every channel group of the seed is in exactly one.
        moved: one sentence for every cut that would have split a group, and for every group that was to be split.
    """

    superblocks: tuple[Superblock, ...]
    moved: tuple[str, ...] = ()


def bin_layers(
    survey: Survey, by: Method | Names, superblocks: int | None = None, latency_ns: Mapping[str, float] | None = None
) -> Binning:
    """Bin a seed's channel groups.

    Args:
        survey: the seed.
        by: ``stage``, or what superblocks are to have equal shares of, or explicit names (:func:`bin_by_names`).
        superblocks: how many there are to be of equal shares; None takes as many as there are resolutions.
        latency_ns: the measured time of every layer, by its name; for ``latency``.

    Raises:
        UsageError: more superblocks than channel groups, or names that do not fit the seed.
    """
    if isinstance(by, Mapping):
        return bin_by_names(survey, by)
    if by == "stage":
        return bin_by_resolution(survey)
    if by == "latency":
        assert latency_ns is not None, "latency has to be measured first"
        costs = latency_ns
    else:
        costs = survey.costs(by)
    return bin_equally(survey, costs, superblocks or len(bin_by_resolution(survey).superblocks), by)


def bin_by_stage(spec: SeedSpec) -> tuple[Superblock, ...]:
    """Return the superblocks of :func:`bin_by_resolution` for a seed.

    Raises:
        ModelError: the seed cannot be built, traced, or has nothing to prune.
    """
    return bin_by_resolution(survey_seed(spec)).superblocks


def bin_by_resolution(survey: Survey) -> Binning:
    """Bin the channel groups by the spatial resolution that most of their convolutions put out.

    Returns:
        superblocks named ``stage-HxW``. The classifier's own output is in none.
    """
    bins: dict[Resolution, list[ChannelGroup]] = {}
    for located in survey.groups:
        bins.setdefault(located.resolution, []).append(located.group)
    blocks = (Superblock(f"stage-{_text(size)}", size, tuple(groups)) for size, groups in bins.items())
    return Binning(tuple(blocks), tuple(_several_stages(survey)))


def bin_equally(survey: Survey, costs: Mapping[str, float], superblocks: int, unit: str) -> Binning:
    """Cut the channel groups, in forward order, into superblocks of nearly equal cost.

    Args:
        survey: the seed.
        costs: by layer; see :meth:`Survey.shares` for what is charged to whom.
        superblocks: how many; from 1 to the number of groups.
        unit: what the cost is, e.g. ``macs``; names the superblocks ``macs-1`` and so on.

    Raises:
        UsageError: more superblocks than channel groups.
    """
    cuts = equal_cuts(list(survey.shares(costs).values()), superblocks)
    edges = (0, *cuts, len(survey.groups))
    parts = (survey.groups[start:end] for start, end in pairwise(edges))
    blocks = (_superblock(f"{unit}-{number}", part) for number, part in enumerate(parts, start=1))
    return Binning(tuple(blocks), tuple(_moved_cuts(survey, costs, cuts, unit)))


def bin_by_names(survey: Survey, names: Names) -> Binning:
    """Bin the channel groups by the module names of their layers.

    A pattern is a module's name, which stands for all modules within it too, or a glob. Where several match a layer,
    the one with the most characters that are no wildcards wins, so ``*`` takes what no other names. A group whose
    layers are named in several superblocks goes where most of them are, the earliest on a tie.

    Args:
        survey: the seed.
        names: the patterns of each superblock; their order does not matter.

    Returns:
        superblocks under the names given, in forward order.

    Raises:
        UsageError: a pattern that matches nothing, a layer that none or several match alike, a superblock that is left
            without a group.
    """
    _check_patterns(survey, names)
    bins: dict[str, list[LocatedGroup]] = {}
    moved = []
    for located in survey.groups:
        wanted = Counter(_name_of(layer, names) for layer in located.group.layers)
        # most_common keeps the order of first sight among equals.
        chosen = wanted.most_common(1)[0][0]
        bins.setdefault(chosen, []).append(located)
        if len(wanted) > 1:
            moved.append(
                f"the layers of channel group {located.group.name!r} are named in {_listed(wanted)}; "
                f"all {len(located.group.layers)} of them are in {chosen!r}"
            )
    for name in names:
        if name not in bins:
            message = f"binning: superblock {name!r} is left without a channel group: its layers are tied to others"
            raise UsageError(message, "run: scbp-host space show --by stage")
    return Binning(tuple(_superblock(name, part) for name, part in bins.items()), tuple(moved))


def _superblock(name: str, part: Sequence[LocatedGroup]) -> Superblock:
    sizes: Counter[Resolution] = Counter()
    for located in part:
        sizes[located.resolution] += len(located.group.layers)
    return Superblock(name, sizes.most_common(1)[0][0], tuple(located.group for located in part))


def _several_stages(survey: Survey) -> Iterable[str]:
    resolutions = {layer.name: layer.resolution for layer in survey.layers}
    for located in survey.groups:
        sizes = {size: None for layer in located.group.layers if (size := resolutions.get(layer)) is not None}
        if len(sizes) > 1:
            yield (
                f"the layers of channel group {located.group.name!r} put out {_listed(map(_text, sizes))}; "
                f"all {len(located.group.layers)} of them are in 'stage-{_text(located.resolution)}'"
            )


def _moved_cuts(survey: Survey, costs: Mapping[str, float], cuts: Sequence[int], unit: str) -> Iterable[str]:
    """Say which cuts equal shares of single layers would have made through a group, and where they are now."""
    layers = [layer.name for layer in survey.layers if layer.name in survey.owners]
    place = {name: index for index, name in enumerate(layers)}
    wanted = equal_cuts([costs.get(name, 0.0) for name in layers], len(cuts) + 1)
    for number, (cut, ideal) in enumerate(zip(cuts, wanted, strict=True), start=1):
        split = [own.group for own in survey.groups if _is_split([place[name] for name in own.group.layers], ideal)]
        if split:
            groups = _listed(f"{own.name!r} ({len(own.layers)} layers)" for own in split)
            yield (
                f"cut {number} for equal shares of {unit} would be before {layers[ideal]!r} and split {groups}; "
                f"it moved to before {survey.groups[cut].group.name!r}"
            )


def _is_split(places: Sequence[int], cut: int) -> bool:
    return min(places) < cut <= max(places)


def _check_patterns(survey: Survey, names: Names) -> None:
    layers = [layer for located in survey.groups for layer in located.group.layers]
    for name, patterns in names.items():
        for pattern in patterns:
            if not any(_matches(layer, pattern) for layer in layers):
                message = f"binning: {pattern!r} of superblock {name!r} names no prunable layer of the model"
                raise UsageError(message, "run: scbp-host space show --by stage")


def _name_of(layer: str, names: Names) -> str:
    """Return the superblock whose pattern names the layer best."""
    found = {
        name: max(_literal_length(own) for own in patterns if _matches(layer, own))
        for name, patterns in names.items()
        if any(_matches(layer, own) for own in patterns)
    }
    if not found:
        raise UsageError(f"binning: layer {layer!r} is in no superblock", _TAKE_THE_REST)
    best = [name for name, length in found.items() if length == max(found.values())]
    if len(best) > 1:
        raise UsageError(f"binning: layer {layer!r} is in {_listed(best)} alike", "make one of the patterns longer")
    return best[0]


def _matches(layer: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(layer, pattern) or fnmatch.fnmatchcase(layer, f"{pattern}.*")


def _literal_length(pattern: str) -> int:
    return sum(letter not in "*?" for letter in pattern)


def _text(size: Resolution) -> str:
    return f"{size[0]}x{size[1]}"


def _listed(names: Iterable[str]) -> str:
    first, *others = names
    return first if not others else f"{', '.join([first, *others[:-1]])} and {others[-1]}"
