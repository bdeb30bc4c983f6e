"""Who wins of what a run knows: the seam between its records and the ranking's pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from scbp_host.ranking.budgets import Budgets, Verdict, choose_best, misses
from scbp_host.ranking.chances import Chances, chances, tied
from scbp_host.ranking.deciding import OPEN, turns_on
from scbp_host.ranking.pareto import pareto_front
from scbp_host.stages.known import Known
from scbp_host.stages.standing import Standing


@dataclass(frozen=True)
class Ranking:
    """Who is on the front, who meets the budgets, and who is best.

    Attributes:
        best: None where nothing meets the budgets.
        reason: why, or the nearest miss.
        on_front: ids, the seed's among them where it is.
        meets: id -> whether every budget is met, for the trained.
        chances: id -> how sure that is, for the seed and the trained.
        tied: ids of those that nothing measured tells apart from the best.
    """

    best: Known | None
    reason: str
    on_front: frozenset[str]
    meets: dict[str, bool]
    chances: dict[str, Chances] = field(default_factory=dict)
    tied: frozenset[str] = frozenset()


def rank(standing: Standing, budgets: Budgets) -> Ranking:
    """Rank what is known under these budgets."""
    seed = standing.objectives(standing.seed)
    if seed is None:
        return Ranking(None, "the seed has not been measured yet", frozenset(), {})
    entries = [(known, standing.objectives(known)) for known in standing.rows]
    contenders = [(known, point) for known, point in entries if point is not None]
    points = [point for _, point in contenders]
    verdict = choose_best(points, seed.top1, budgets) if points else Verdict(None, _nothing_trained(standing, budgets))
    front = pareto_front([seed, *points])
    everyone = [standing.seed, *(known for known, _ in contenders)]
    best = None if verdict.best is None else points[verdict.best]
    return Ranking(
        None if verdict.best is None else contenders[verdict.best][0],
        verdict.reason,
        frozenset(own.id for own, on_front in zip(everyone, front, strict=True) if on_front),
        {known.id: not misses(point, seed.top1, budgets) for known, point in contenders},
        {own.id: chance for own, chance in zip(everyone, chances(seed, points, budgets), strict=True)},
        frozenset(own.id for own, point in contenders if best and point is not best and tied(best, point)),
    )


def decisive(standing: Standing, budgets: Budgets) -> list[str]:
    """Return the ids of the trained whose latency the ranking turns on, the one that decides most first."""
    seed = standing.objectives(standing.seed)
    entries = [(known.id, point) for known in standing.rows if (point := standing.objectives(known)) is not None]
    if seed is None or not entries:
        return []
    shares = turns_on(seed, [point for _, point in entries], budgets)
    ranked = sorted(zip(shares.tolist(), entries, strict=True), key=lambda own: -own[0])
    return [name for share, (name, _) in ranked if share > OPEN]


def _nothing_trained(standing: Standing, budgets: Budgets) -> str:
    """Say what was nearest to the budgets of latency and resources, if that is why nothing was trained."""
    missed = [misses(point, point.top1, budgets) for own in standing.candidates if (point := standing.untrained(own))]
    if not missed or not all(missed):
        return "no candidate was trained, exported and measured to the end"
    nearest = min(missed, key=lambda own: own[0].excess)
    return f"nothing meets the budgets, so nothing was trained; the nearest miss: {nearest[0].text}"
