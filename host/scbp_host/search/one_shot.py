"""The one-shot search: measure a spread of the space, predict the rest, train a few once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.resources import MEMORY
from scbp_host.search.base import Observation, Problem, Proposal, Purpose
from scbp_host.search.design import along, covering, maximin
from scbp_host.search.forecast import Forecast, forecast
from scbp_host.search.known import KnownPool, known

Array = NDArray[np.float64]

# An accuracy model of fewer trainings than this knows less than the guess.
MIN_TRAININGS = 4
# The paper's headline asks for a fifth less latency than the seed's; who wants less than that gains little by a swap.
WORTHWHILE = 0.8
# Of so many times more than asked for, the first proposals under a latency budget are a spread.
SHORTLIST = 4


@dataclass(frozen=True)
class _Expected:
    """What is expected of every structure; ``accuracy`` are mere guesses where there is no deviation."""

    figures: Forecast
    accuracy: Array
    accuracy_std: Array | None


class OneShotSearch:
    """Proposes from a finite pool of structures.

    Before anything is trained, a structure's accuracy is guessed; afterwards what was trained teaches the rest.

    Args:
        problem: the pool and what is known of it.
    """

    def __init__(self, problem: Problem) -> None:
        self._pool = KnownPool(problem.pool, problem.limits)
        self._problem = problem
        self._widths = problem.widths
        self._prior = problem.prior
        self._limits = problem.limits
        self._seed_val_top1 = problem.seed_val_top1
        self._random_seed = problem.random_seed

    def observe(self, observations: Sequence[Observation]) -> None:
        """Remember the newest observation of each structure; those outside the pool are ignored."""
        self._pool.observe(observations)

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose a spread to measure, or the most promising structures to train."""
        if purpose is Purpose.MEASURE:
            rows = covering(self._widths, count, self._random_seed)
            return Proposal(self._pool.choose([row for row in rows if row not in self._pool.seen]), len(self._pool), 0)
        return self._promising(count)

    def _promising(self, count: int) -> Proposal:
        figures = forecast(self._pool, self._problem)
        if figures is None:
            return Proposal((), 0, 0)
        expected = _Expected(figures, *self._accuracy())
        plausible = self._plausible(expected)
        untried = [row for row in plausible if self._pool.is_untried(row)]
        # A training is worth its minutes for what is surely faster, as long as there is such.
        worthwhile = WORTHWHILE if self._limits.latency_ratio is None else 1.0
        untried = [row for row in untried if figures.latency[row].high < worthwhile] or untried
        chosen = self._by_gain(untried, expected, count) if self._pool.trained else []
        if not chosen:
            first = self._along_latency if self._limits.latency_ratio is None else self._near_budget
            chosen = first(untried, expected, count)
        dropped = len(self._pool) - len(plausible)
        return Proposal(self._pool.choose(chosen), len(plausible), dropped, figures.model)

    def _accuracy(self) -> tuple[Array, Array | None]:
        """Return expected accuracies (or, before there are trainings, the guesses) and their deviations."""
        trained = self._pool.trained
        if len(trained) < MIN_TRAININGS:
            return self._prior.guess, None
        top1 = [known(self._pool.seen[row].val_top1) for row in trained]
        return self._prior.posterior(trained, top1, self._seed_val_top1)

    def _plausible(self, expected: _Expected) -> list[int]:
        """Return the rows that can be on the front within the limits, as far as the intervals tell."""
        figures = expected.figures
        low = np.asarray([interval.low for interval in figures.latency])
        high = np.asarray([interval.high for interval in figures.latency])
        failed = [row for row, seen in self._pool.seen.items() if seen.failed]
        high[failed] = np.inf  # what cannot be had beats nobody
        possible = figures.may_be_within(self._limits.resources)
        if self._limits.latency_ratio is not None:
            possible &= low <= self._limits.latency_ratio
        # Memory is on the front; of the others, less counts only where there is a budget.
        least = [figures.least(own) for own in {MEMORY, *self._limits.resources}]
        for row in np.flatnonzero(possible).tolist():
            # Beaten: by one no larger, no less accurate by expectation, and faster beyond both intervals.
            beaten = (high < low[row]) & (expected.accuracy >= expected.accuracy[row])
            beaten &= figures.onnx_bytes <= figures.onnx_bytes[row]
            beaten &= np.logical_and.reduce([own <= own[row] for own in least])
            possible[row] = not beaten.any()
        possible[failed] = False
        rows: list[int] = np.flatnonzero(possible).tolist()
        return rows

    def _along_latency(self, rows: Sequence[int], expected: _Expected, count: int) -> list[int]:
        """Take the best guess of accuracy for every latency."""
        latency = np.asarray([interval.value for interval in expected.figures.latency])
        return along(latency, expected.accuracy, rows, count)

    def _near_budget(self, rows: Sequence[int], expected: _Expected, count: int) -> list[int]:
        """Take a spread of those that keep most and are probably in time; the others' latencies are of no use."""
        figures, limits = expected.figures, self._limits
        score = expected.accuracy * figures.chance_in_time(known(limits.latency_ratio))
        score *= figures.chance_within(limits.resources)
        best = sorted(rows, key=lambda row: (-float(score[row]), row))[: SHORTLIST * count]
        # Neighbours would teach the accuracy model one thing twice.
        return [best[own] for own in maximin(self._widths[best], count, [0])] if best else []

    def _by_gain(self, rows: Sequence[int], expected: _Expected, count: int) -> list[int]:
        """Take those with the largest expected gain in speed: the chance to be accurate enough, times the saving.

        With a latency budget fast enough is fast enough, so the gain is in accuracy, times the chance to be in time.
        Either is worth as much as the chance to take no more of anything than is allowed.
        """
        accuracy, std = expected.accuracy, expected.accuracy_std
        if std is None:
            return []
        if self._limits.latency_ratio is not None:
            reached = self._reached(accuracy)
            # Expected improvement (Jones et al., 1998, eq. 15) over the best accuracy so far.
            score = (accuracy - reached) * stats.norm.cdf((accuracy - reached) / std)
            score += std * stats.norm.pdf((accuracy - reached) / std)
            score *= expected.figures.chance_in_time(self._limits.latency_ratio)
        else:
            ratios = np.asarray([own.value for own in expected.figures.latency])
            floor = self._limits.min_val_top1
            chance = np.ones(len(ratios)) if floor is None else stats.norm.sf((floor - accuracy) / std)
            score = chance * np.clip(1.0 - ratios, 0.0, None)
        score = score * expected.figures.chance_within(self._limits.resources)
        return sorted(rows, key=lambda row: (-float(score[row]), row))[:count]

    def _reached(self, accuracy: Array) -> float:
        """Return the best accuracy within the budgets so far; before there is one, the lowest allowed, or expected."""
        seen = [self._pool.seen[row] for row in self._pool.trained]
        within = [known(own.val_top1) for own in seen if not self._limits.exceeded_by(own)]
        floor = self._limits.min_val_top1
        return max(within, default=float(accuracy.min()) if floor is None else floor)


def relative_widths(pool: Sequence[Candidate], superblocks: Sequence[Mapping[str, int]]) -> Array:
    """Return ``(n_pool, n_superblocks)``: channels kept / the seed's channels.

    Args:
        pool: structures.
        superblocks: for each, group name -> the seed's channels.
    """
    kept = [dict(candidate.widths) for candidate in pool]
    return np.asarray(
        [[sum(own[name] for name in block) / sum(block.values()) for block in superblocks] for own in kept]
    )


def importance_kept(pool: Sequence[Candidate], curves: Mapping[str, Array]) -> Array:
    """Return ``(n_pool,)``: the geometric mean over groups of the importance that the kept channels carry.

    Layers follow each other, so what one loses is lost to all behind it: shares multiply.

    Args:
        pool: structures.
        curves: group name -> ``(channels + 1,)`` share of importance kept with w channels.
    """
    logs = [[float(np.log(max(curves[name][width], 1e-9))) for name, width in own.widths] for own in pool]
    return np.asarray(np.exp(np.mean(logs, axis=1)))
