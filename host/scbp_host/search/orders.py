"""Strategies that learn nothing: they train what comes next in an order that is fixed from the start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scbp_host.search.base import Observation, Problem, Proposal, Purpose
from scbp_host.search.design import maximin
from scbp_host.search.known import KnownPool


class FixedOrder:
    """Trains what comes next; measures nothing but that.

    Args:
        problem: the pool and what is known of it.
        order: rows of the pool.
    """

    def __init__(self, problem: Problem, order: Sequence[int]) -> None:
        self._pool = KnownPool(problem.pool, problem.limits)
        self._order = order

    def observe(self, observations: Sequence[Observation]) -> None:
        """Remember what is tried already."""
        self._pool.observe(observations)

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose the next ``count`` in order that are not tried yet."""
        if purpose is Purpose.MEASURE:
            return Proposal((), len(self._pool), 0)
        following = [row for row in self._order if self._pool.is_untried(row)]
        plausible = int(np.count_nonzero(self._pool.possible))
        return Proposal(self._pool.choose(following[:count]), plausible, len(self._pool) - plausible)


def random_order(problem: Problem) -> FixedOrder:
    """Return a search that draws structures without replacement."""
    order: list[int] = np.random.default_rng(problem.random_seed).permutation(len(problem.pool)).tolist()
    return FixedOrder(problem, order)


def uniform_order(problem: Problem) -> FixedOrder:
    """Return a search over the structures of one ratio: the classic width multiplier, each far from those before."""
    same = [row for row, own in enumerate(problem.pool) if len(set(own.ratios)) == 1]
    if not same:
        return FixedOrder(problem, [])
    widths = problem.widths[same]
    middle = int(np.argmin(np.abs(widths.mean(axis=1) - np.median(widths))))
    return FixedOrder(problem, [same[row] for row in maximin(widths, len(same), [middle])])
