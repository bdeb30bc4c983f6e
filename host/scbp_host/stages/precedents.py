"""What earlier runs in the same store measured: of other devices, precisions or seeds, for this run to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.resources import RESOURCES, Resource, resources_of
from scbp_host.latency.transfer import Experience, Source
from scbp_host.search.one_shot import relative_widths
from scbp_host.stages.known import Known
from scbp_host.stages.standing import Standing
from scbp_host.store import RunRecord, RunStatus, Store

# Each costs a model of its own with every proposal, and the newest are the likeliest to be of use.
MOST_RUNS = 4
# What taught less than this would say little.
LEAST_MEASURED = 8


@dataclass(frozen=True)
class _Precedent:
    """What one run measured."""

    latency: Source
    resources: dict[Resource, Source]


def precedents(store: Store, before: str, superblocks: int) -> Experience:
    """Return what the newest finished runs measured over as many superblocks.

    Args:
        store: where runs are.
        before: when the run that asks was created, so that it has one answer however often it is resumed.
        superblocks: of the run that asks.
    """
    found: list[_Precedent] = []
    for run in store.runs():
        if run.status is RunStatus.FINISHED and run.created_at < before and len(found) < MOST_RUNS:
            found.extend(_taught_by(store, run, superblocks))
    by_resource = {kind: tuple(own.resources[kind] for own in found if kind in own.resources) for kind in RESOURCES}
    told = {kind: sources for kind, sources in by_resource.items() if sources}
    return Experience(tuple(own.latency for own in found), told)


def _taught_by(store: Store, run: RunRecord, superblocks: int) -> Iterator[_Precedent]:
    """Yield what a run taught, if it taught enough of such a space."""
    outcomes = store.outcomes(run.id)
    space = next((own.payload for own in outcomes if own.stage == "space" and own.payload), None)
    if space is None or len(space["superblocks"]) != superblocks:
        return
    groups = [{group["name"]: int(group["channels"]) for group in own["groups"]} for own in space["superblocks"]]
    standing = Standing.of(outcomes)
    measured = {own.candidate: own for own in (standing.seed, *standing.candidates) if own.measurement}
    if len(measured) >= LEAST_MEASURED:
        name = f"{run.config['config']['device']}, {standing.seed.candidate.seed.factory}, run {run.id}"
        yield _precedent(name, standing, measured, groups)


def _precedent(
    name: str, standing: Standing, measured: dict[Candidate, Known], groups: list[dict[str, int]]
) -> _Precedent:
    ratios = {own: ratio.value for own, known in measured.items() if (ratio := standing.ratio(known))}
    told = {own: resources_of(known.measurement) for own, known in measured.items()}
    resources: dict[Resource, Source] = {}
    for kind in RESOURCES:
        amounts = {own: every[kind] for own, every in told.items() if kind in every}
        # Whether a board tells it is up to the board.
        if len(amounts) >= LEAST_MEASURED:
            resources[kind] = _source(name, amounts, groups)
    return _Precedent(_source(name, ratios, groups), resources)


def _source(name: str, figures: Mapping[Candidate, float], groups: list[dict[str, int]]) -> Source:
    return Source(name, relative_widths(list(figures), groups), np.asarray(list(figures.values()), np.float64))
