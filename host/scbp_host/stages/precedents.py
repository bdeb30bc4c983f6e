"""What earlier runs in the same store measured: of other devices, precisions or seeds, for this run to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scbp_host.domain.candidate import Candidate
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
    memory: Source


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
    return Experience(tuple(own.latency for own in found), tuple(own.memory for own in found))


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
    widths = relative_widths(list(measured), groups)
    ratios = [ratio.value for own in measured.values() if (ratio := standing.ratio(own))]
    memory = [own.measurement.peak_rss_bytes for own in measured.values() if own.measurement]
    return _Precedent(Source(name, widths, np.asarray(ratios)), Source(name, widths, np.asarray(memory, np.float64)))
