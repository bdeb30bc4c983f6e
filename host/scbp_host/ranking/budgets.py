"""Budgets as filters, and the one candidate that is named best, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scbp_host.domain.resources import Resource
from scbp_host.ranking.pareto import Objectives


@dataclass(frozen=True)
class Budgets:
    """What the best must meet; None, or a resource that is missing, sets no limit.

    Attributes:
        latency_ms: of the latency's upper bound.
        resources: of what it takes of each.
        accuracy_drop_points: of validation top-1 below the seed's, in points.
    """

    latency_ms: float | None = None
    resources: Mapping[Resource, float] = field(default_factory=dict)
    accuracy_drop_points: float | None = None


@dataclass(frozen=True)
class Miss:
    """One budget that is not met: how far, relative to the budget, and in words."""

    excess: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """Which of the contenders is best (its index, or None), and why."""

    best: int | None
    reason: str


# A tenth of an image in 100,000: accuracies are fractions of counts, and 0.99 - 0.98 is not 0.01 to a float.
_ROUNDING = 1e-6


def misses(candidate: Objectives, seed_top1: float, budgets: Budgets) -> list[Miss]:
    """Return the budgets that a candidate does not meet, the worst miss first."""
    found = []
    if budgets.latency_ms is not None and candidate.latency_ms.high > budgets.latency_ms:
        text = f"latency up to {candidate.latency_ms.high:.3g} ms, budget {budgets.latency_ms:g} ms"
        found.append(Miss(candidate.latency_ms.high / budgets.latency_ms - 1.0, text))
    for resource, limit in budgets.resources.items():
        amount = candidate.resources.get(resource)
        if amount is None or amount > limit:
            found.append(_exceeds(resource, amount, limit))
    drop_points = 100.0 * (seed_top1 - candidate.top1)
    allowed = budgets.accuracy_drop_points
    if allowed is not None and drop_points > allowed + _ROUNDING:
        text = f"validation top-1 {drop_points:.2f} points below the seed, budget {allowed:g}"
        found.append(Miss((drop_points - allowed) / max(allowed, 1.0), text))
    return sorted(found, key=lambda miss: -miss.excess)


def _exceeds(resource: Resource, amount: float | None, limit: float) -> Miss:
    """Return the miss of a candidate that takes too much; what is not known to be within a budget is not within it."""
    budget = f"budget {limit:g} {resource.unit}"
    if amount is None:
        return Miss(math.inf, f"{resource.title} not told by the board, {budget}")
    return Miss(amount / limit - 1.0, f"{resource.title} {resource.text(amount)}, {budget}")


def choose_best(contenders: Sequence[Objectives], seed_top1: float, budgets: Budgets) -> Verdict:
    """Name the best contender that meets every budget.

    With a latency budget fast enough is fast enough: the most accurate wins. Without one the fastest wins, and among
    those whose latency intervals overlap its own, the most accurate.

    Args:
        contenders: trained candidates, in any order.
        seed_top1: the seed's validation accuracy.
        budgets: the filters.
    """
    judged = [(index, misses(point, seed_top1, budgets)) for index, point in enumerate(contenders)]
    feasible = [index for index, missed in judged if not missed]
    if not judged:
        return Verdict(None, "no candidate was trained, exported and measured to the end")
    if not feasible:
        _, missed = min(judged, key=lambda entry: entry[1][0].excess)
        return Verdict(None, f"nothing meets the budgets; the nearest miss: {missed[0].text}")
    if budgets.latency_ms is not None:
        best = min(feasible, key=lambda index: _accurate_first(contenders[index]))
        return Verdict(best, f"the most accurate of {_count(feasible, contenders)}")
    fastest = min(feasible, key=lambda index: contenders[index].latency_ms.value)
    limit = contenders[fastest].latency_ms.high
    tied = [index for index in feasible if contenders[index].latency_ms.low <= limit]
    best = min(tied, key=lambda index: _accurate_first(contenders[index]))
    reason = f"the fastest of {_count(feasible, contenders)}"
    if len(tied) > 1:
        reason += f"; {len(tied)} tie in latency (their intervals overlap), of these the most accurate"
    return Verdict(best, reason)


def _accurate_first(point: Objectives) -> tuple[float, float, int]:
    return -point.top1, point.latency_ms.value, point.onnx_bytes


def _count(feasible: Sequence[int], contenders: Sequence[Objectives]) -> str:
    return f"{len(feasible)} candidates that meet every budget, out of {len(contenders)} trained"
