"""Latency, resources and size of every structure of the pool, from those that were measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import Resource
from scbp_host.latency.additive import AdditiveModel, size_features
from scbp_host.latency.base import LeaveOneOut, relative_scatter, together
from scbp_host.latency.models import best_model
from scbp_host.latency.transfer import Experience
from scbp_host.measuring.paired import CONFIDENCE
from scbp_host.search.base import Observation, Problem
from scbp_host.search.known import KnownPool, known

Array = NDArray[np.float64]

# Of so few measurements there is no model.
_LEAST_MEASURED = 2
# So many standard deviations an interval reaches to each side.
_DEVIATIONS = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
# A deviation below this would make a probability a certainty.
_LEAST_STD = 1e-9


@dataclass(frozen=True)
class Forecast:
    """What is measured of a structure, or else predicted; one entry for each of the pool.

    Attributes:
        latency: ratios to the seed.
        resource: returns what structures take of one, in its unit; fits its model when asked first, which not every
            search does.
        onnx_bytes: ``(n_pool,)``.
        model: leave-one-out quality of the latency model.
    """

    latency: list[Interval]
    resource: Callable[[Resource], list[Interval]]
    onnx_bytes: Array
    model: LeaveOneOut

    def chance_in_time(self, latency_ratio: float) -> Array:
        """Return ``(n_pool,)``, the chances that a latency is within a budget."""
        return _chances(self.latency, latency_ratio)

    def chance_within(self, budgets: Mapping[Resource, float]) -> Array:
        """Return ``(n_pool,)``, the chances that a structure takes no more than allowed of any resource."""
        chances = [_chances(self.resource(own), limit) for own, limit in budgets.items()]
        return np.asarray(np.multiply.reduce([np.ones(len(self.latency)), *chances]))

    def may_be_within(self, budgets: Mapping[Resource, float]) -> NDArray[np.bool_]:
        """Return ``(n_pool,)``, whether no interval lies beyond its budget as a whole."""
        possible = [self.least(own) <= limit for own, limit in budgets.items()]
        return np.asarray(np.logical_and.reduce([np.ones(len(self.latency), dtype=bool), *possible]))

    def least(self, resource: Resource) -> Array:
        """Return ``(n_pool,)`` lower ends of what structures take."""
        return np.asarray([own.low for own in self.resource(resource)])


def forecast(pool: KnownPool, problem: Problem) -> Forecast | None:
    """Predict what is not measured; None where too little is.

    Args:
        pool: what is observed.
        problem: knows the widths, and what was measured elsewhere.
    """
    widths, experience = problem.widths, problem.experience
    measured = pool.measured
    if len(measured) < _LEAST_MEASURED:
        return None
    seen = [pool.seen[row] for row in measured]
    sizes = AdditiveModel().fit(widths[measured], np.asarray([float(known(own.onnx_bytes)) for own in seen]))
    onnx_bytes = sizes.predict(widths).mean
    features = together(size_features(sizes, float(onnx_bytes.max())), problem.work)
    ratios = np.asarray([known(own.latency_ratio).value for own in seen])
    floors = _floors(seen, ratios)
    model = best_model(
        widths[measured], floors, features=features, sources=experience.latency, shares=_shares(seen, widths)
    )
    # Fast runs repeat better than medians, so what is learned from them is surer than a median will be.
    latency = model.predict(widths, CONFIDENCE).scattered(relative_scatter(ratios, floors)).intervals()
    for row, own in zip(measured, seen, strict=True):
        latency[row] = known(own.latency_ratio)
        onnx_bytes[row] = known(own.onnx_bytes)
    told = {row: own.resources for row, own in zip(measured, seen, strict=True)}
    return Forecast(latency, cache(partial(_taken, widths, told, experience)), onnx_bytes, model.leave_one_out())


def _floors(seen: Sequence[Observation], ratios: Array) -> Array:
    """Return ``(n,)`` latencies by the fast runs, on the scale of the ratios to the seed."""
    floors = np.asarray([own.floor_ratio or ratio for own, ratio in zip(seen, ratios, strict=True)])
    scaled: Array = floors * np.median(ratios / floors)
    return scaled


def _shares(seen: Sequence[Observation], widths: Array) -> Array | None:
    """Return ``(n, n_superblocks + 1)`` shares of time, rows of NaN where there was no profile; None without any."""
    if all(own.time_shares is None for own in seen):
        return None
    unknown = (np.nan,) * (widths.shape[1] + 1)
    return np.asarray([unknown if own.time_shares is None else own.time_shares for own in seen])


def moments(intervals: list[Interval]) -> tuple[Array, Array]:
    """Return ``(n,)`` values and standard deviations of intervals."""
    value, low, high = (np.asarray([getattr(own, name) for own in intervals]) for name in ("value", "low", "high"))
    return value, np.maximum((high - low) / (2 * _DEVIATIONS), _LEAST_STD)


def _chances(intervals: list[Interval], limit: float) -> Array:
    value, std = moments(intervals)
    return np.asarray(stats.norm.cdf((limit - value) / std))


def _taken(
    widths: Array, told: Mapping[int, Mapping[Resource, float]], experience: Experience, resource: Resource
) -> list[Interval]:
    """Predict what every structure takes of a resource; what is measured counts as it is."""
    exact = {row: amounts[resource] for row, amounts in told.items() if resource in amounts}
    if len(exact) < _LEAST_MEASURED:
        intervals = [Interval(0.0, 0.0, float("inf"))] * len(widths)
    else:
        sources = experience.resources.get(resource, ())
        model = best_model(widths[list(exact)], np.asarray(list(exact.values())), sources=sources)
        intervals = model.predict(widths, CONFIDENCE).intervals()
    for row, amount in exact.items():
        intervals[row] = Interval(amount, amount, amount)
    return intervals
