"""How sure a ranking is: the chances of being on the front and of meeting each budget, and who ties with the best.

A measured latency has an interval; a validation accuracy is a share of so many images, with the standard deviation of
a binomial distribution. Both are drawn again and again, and each time it is counted who is on the front. All candidates
answer the same images, so their accuracies err together in part; drawn each for itself, they look less certain beside
each other than they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import Resource
from scbp_host.ranking.budgets import Budgets
from scbp_host.ranking.pareto import Objectives

Array = NDArray[np.float64]

DRAWS = 2000
# Intervals are of 95 %.
_REACH = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Chances:
    """Probabilities, in [0, 1], of one contender.

    Attributes:
        on_front: that no other is nowhere worse and somewhere better.
        latency: that the latency budget is met; None where there is none, as below.
        memory: that the memory budget is met; 0 or 1, since a peak has no interval.
        energy: that the energy budget is met; 0 or 1, since it is measured once.
        accuracy: that the accuracy budget is met.
    """

    on_front: float
    latency: float | None = None
    memory: float | None = None
    energy: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Draws:
    """What may be true of several contenders, draw by draw.

    Attributes:
        points: the contenders.
        latency_ms: ``(DRAWS, n_points)``.
        top1: ``(DRAWS, n_points)`` accuracies.
    """

    points: Sequence[Objectives]
    latency_ms: Array
    top1: Array

    @classmethod
    def of(cls, points: Sequence[Objectives], random_seed: int = 0) -> Self:
        """Draw latencies and accuracies within their intervals."""
        random = np.random.default_rng(random_seed)
        latency = np.stack([_draw(own.latency_ms, random) for own in points], axis=1)
        top1 = np.stack([own.top1 + own.top1_std * random.standard_normal(DRAWS) for own in points], axis=1)
        return cls(points, latency, top1)

    def on_front(self) -> NDArray[np.bool_]:
        """Return ``(DRAWS, n_points)``, whether nothing dominates a point."""
        memory = np.asarray([own.memory_mb for own in self.points])
        size = np.asarray([own.onnx_bytes for own in self.points])
        front = np.empty(self.top1.shape, dtype=bool)
        for row in range(len(self.points)):
            top1, latency = self.top1[:, [row]], self.latency_ms[:, [row]]
            better = (self.top1 > top1) | (self.latency_ms < latency) | (memory < memory[row]) | (size < size[row])
            worse = (self.top1 < top1) | (self.latency_ms > latency) | (memory > memory[row]) | (size > size[row])
            front[:, row] = ~(better & ~worse).any(axis=1)
        return front

    def within(self, budgets: Budgets) -> dict[str, NDArray[np.bool_]]:
        """Return ``(DRAWS, n_points)`` by budget, whether it is met; the first point is the seed."""
        drop = 100.0 * (self.top1[:, :1] - self.top1)
        compared = (
            ("latency", self.latency_ms, budgets.latency_ms),
            *((own.name, self._amounts(own), limit) for own, limit in budgets.resources.items()),
            ("accuracy", drop, budgets.accuracy_drop_points),
        )
        # As in budgets.py: accuracies are fractions of counts, and rounding is no miss.
        return {name: figure <= limit + 1e-6 for name, figure, limit in compared if limit is not None}

    def _amounts(self, resource: Resource) -> Array:
        """Return ``(DRAWS, n_points)``; what is not known is too much."""
        return np.broadcast_to([own.resources.get(resource, np.inf) for own in self.points], self.top1.shape)


def binomial_std(share: float, count: int) -> float:
    """Return the standard deviation of a share of ``count`` images; never 0, also where all of them were right.

    Agresti and Coull, "Approximate is better than 'exact' for interval estimation of binomial proportions", The
    American Statistician, 1998: as if two more had been right and two more wrong.
    """
    likely = (share * count + 2.0) / (count + 4.0)
    return math.sqrt(likely * (1.0 - likely) / (count + 4.0))


def chances(
    seed: Objectives, contenders: Sequence[Objectives], budgets: Budgets, random_seed: int = 0
) -> list[Chances]:
    """Return the chances of the seed and of every contender, in this order.

    Args:
        seed: the seed; it is on the front or not like the others.
        contenders: trained candidates.
        budgets: what they should meet.
        random_seed: of the draws.
    """
    draws = Draws.of([seed, *contenders], random_seed)
    front, within = draws.on_front().mean(axis=0), draws.within(budgets)
    shares = {name: met.mean(axis=0) for name, met in within.items()}
    return [
        Chances(float(own), **{name: float(share[row]) for name, share in shares.items()})
        for row, own in enumerate(front)
    ]


def tied(first: Objectives, second: Objectives) -> bool:
    """Say whether neither latency nor accuracy tells two contenders apart: both pairs of 95 % intervals overlap."""
    one, two = first.latency_ms, second.latency_ms
    apart = abs(first.top1 - second.top1)
    return one.low <= two.high and two.low <= one.high and apart <= _REACH * (first.top1_std + second.top1_std)


def _draw(interval: Interval, random: np.random.Generator) -> Array:
    """Draw from a normal distribution of two halves, since an interval need not be symmetric."""
    normal = random.standard_normal(DRAWS) / _REACH
    reach = np.where(normal > 0, interval.high - interval.value, interval.value - interval.low)
    return np.asarray(interval.value + normal * reach)
