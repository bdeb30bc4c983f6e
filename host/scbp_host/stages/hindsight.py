"""Latency and resources of every point of a space, as an earlier run on the device taught them: what filters ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec, Superblock
from scbp_host.domain.precision import Precision
from scbp_host.domain.resources import RESOURCES, resources_of
from scbp_host.errors import UsageError
from scbp_host.latency.models import best_model
from scbp_host.search.one_shot import relative_widths
from scbp_host.space.ratio_sets import Ratios
from scbp_host.space.ratio_sets.expression import Figure
from scbp_host.space.ratios import block_widths
from scbp_host.stages.known import Known
from scbp_host.stages.standing import Standing
from scbp_host.store import STORE_FILE, RunStatus, Store

Array = NDArray[np.float64]

LATENCY = "latency_ms"
_BY_KEY = {own.key: own for own in RESOURCES}
# Tuples whose figures are remembered: a set asks for the same one again when it is listed.
_REMEMBERED = 65_536


def learned_figures(
    config: RunConfig, seed: SeedSpec, superblocks: Sequence[Superblock], channel_step: int, before: str | None = None
) -> Mapping[str, Figure]:
    """Return ``latency_ms`` (p50) and every resource, such as ``memory_mb``, as functions of a ratio tuple.

    What the newest finished run of this seed on this device measured counts as it is; the rest is predicted from it by
    the best model of it. The store is read on the first call, which raises UsageError where it holds no such run, or
    none whose device told that figure.

    Args:
        config: says which device, and where the store is.
        seed: what is narrowed.
        superblocks: of the space; the earlier run's may have been others.
        channel_step: of the device.
        before: when the run that asks was created, so that it has one answer however often it is resumed; None for now.
    """

    @cache
    def lesson(name: str) -> _Lesson:
        return _Lesson(_earlier(config, seed, before, name), superblocks)

    def figure(name: str) -> Figure:
        @lru_cache(_REMEMBERED)
        def of(ratios: Ratios) -> float:
            widths = [block_widths(block, own, channel_step) for block, own in zip(superblocks, ratios, strict=True)]
            return lesson(name).value(tuple(widths))

        return of

    return {name: figure(name) for name in (LATENCY, *_BY_KEY)}


class _Lesson:
    """One figure of every structure, from those of a run's."""

    def __init__(self, values: Mapping[Candidate, float], superblocks: Sequence[Superblock]) -> None:
        self._channels = [sum(group.channels for group in block.groups) for block in superblocks]
        groups = [{group.name: group.channels for group in block.groups} for block in superblocks]
        self._model = best_model(relative_widths(list(values), groups), np.asarray(list(values.values())))
        kept = {known: dict(known.widths) for known in values}
        self._measured = {
            tuple(tuple(kept[own][name] for name in block) for block in groups): value for own, value in values.items()
        }

    def value(self, widths: tuple[tuple[int, ...], ...]) -> float:
        if widths in self._measured:
            return self._measured[widths]
        relative = [[sum(own) / full for own, full in zip(widths, self._channels, strict=True)]]
        return float(self._model.predict(np.asarray(relative)).mean[0])


def _figure(standing: Standing, known: Known, name: str) -> float | None:
    if name in _BY_KEY:
        return resources_of(known.measurement).get(_BY_KEY[name])
    latency = standing.latency_ms(known)
    return None if latency is None else latency.value


def _earlier(config: RunConfig, seed: SeedSpec, before: str | None, name: str) -> dict[Candidate, float]:
    """Return a figure by structure, of the newest finished run that has it of this seed on this device."""
    path = config.out / STORE_FILE
    if path.exists():
        with Store.open(path) as store:
            for run in store.runs():
                is_earlier = run.status is RunStatus.FINISHED and (before is None or run.created_at < before)
                if is_earlier and _measures_alike(run.config["config"], config):
                    standing = Standing.of(store.outcomes(run.id))
                    everyone = (standing.seed, *standing.candidates)
                    figures = {own.candidate: _figure(standing, own, name) for own in everyone}
                    told = {own: figure for own, figure in figures.items() if figure is not None}
                    if standing.seed.candidate.seed == seed and len(told) > 1:
                        return told
    raise UsageError(
        f"ratios: a filter on {name} needs what an earlier run has measured, "
        f"and {path} holds no finished run of {seed.factory!r} on {config.device!r}"
        + (f" at {config.rate:g} Hz" if config.rate else "")
        + " that tells it",
        "run without this filter first, or set a budget instead: --latency-budget 15ms",
    )


def _measures_alike(stored: Mapping[str, Any], config: RunConfig) -> bool:
    """Whether latencies compare: on one device, at one rate, since its clocks follow the load, and in one precision."""
    first = stored.get("precision", [Precision.FP32])[0]
    same = all(stored.get(key) == config.identity()[key] for key in ("device", "rate"))
    return same and bool(first == config.first_precision)
