"""Which latencies the ranking turns on: where another measurement decides who is on the front, in time, or best.

What is open in a ranking are statements that hold in some of the draws of ``chances.py`` only, each with the variance
p (1 - p). A latency accounts for the part of it that would be gone if it were known exactly: its first-order index
(Sobol, "Sensitivity estimates for nonlinear mathematical models", 1993; in decisions, the expected value of partial
perfect information). The rest is up to other latencies, and to accuracies, which no measurement of latency settles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scbp_host.ranking.budgets import Budgets
from scbp_host.ranking.chances import DRAWS, Draws
from scbp_host.ranking.pareto import Objectives

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# What a statement that holds with 97.5 % leaves open: less is as good as decided.
OPEN = 0.025
# Draws are grouped by one latency, to see what knowing it would tell.
_BINS = 20


def turns_on(seed: Objectives, contenders: Sequence[Objectives], budgets: Budgets, random_seed: int = 0) -> Array:
    """Return ``(n_contenders,)``: how much of what is open in the ranking each latency accounts for.

    Args:
        seed: the seed, which is in the ranking like the others.
        contenders: trained candidates.
        budgets: what they should meet.
        random_seed: of the draws.
    """
    draws = Draws.of([seed, *contenders], random_seed)
    within = draws.within(budgets)
    statements = [draws.on_front(), _best(draws, within, budgets)]
    if "latency" in within:
        statements.append(within["latency"])
    # Everybody's statements side by side: a latency decides about others than its own candidate, too.
    open_ones = np.concatenate(statements, axis=1).astype(np.float64)
    return np.asarray([_explained(latency, open_ones) for latency in draws.latency_ms.T[1:]])


def _best(draws: Draws, within: dict[str, Flags], budgets: Budgets) -> Flags:
    """Return ``(DRAWS, n_points)``, who of those within the budgets is best; the seed does not compete."""
    meets = np.logical_and.reduce([np.ones(draws.top1.shape, dtype=bool), *within.values()])
    meets[:, 0] = False
    score = draws.latency_ms if budgets.latency_ms is None else -draws.top1
    best = np.argmin(np.where(meets, score, np.inf), axis=1)
    named: Flags = meets & (np.arange(meets.shape[1]) == best[:, None])
    return named


def _explained(latency: Array, statements: Array) -> float:
    """Return how much variance of ``(DRAWS, n_statements)`` goes by the quantiles of ``(DRAWS,)`` latencies."""
    if np.ptp(latency) == 0.0:
        return 0.0
    groups = statements[np.argsort(latency)].reshape(_BINS, DRAWS // _BINS, -1)
    variance = statements.var(axis=0)
    # Means of groups vary by chance alone, too.
    explained = groups.mean(axis=1).var(axis=0) - variance * (_BINS - 1) / DRAWS
    return float(explained.clip(min=0.0).sum())
