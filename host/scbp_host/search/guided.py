"""The guided search: train what is expected to add most to the hypervolume, by what both models are unsure of.

Expected hypervolume improvement over noisy observations (Daulton, Balandat and Bakshy, "Parallel Bayesian Optimization
of Multiple Noisy Objectives with Expected Hypervolume Improvement", NeurIPS 2021), over a finite pool. A *world* is one
draw of all accuracies and latencies that agrees with what was measured and trained. In each world the trained
structures have a front, and every other one would add some hypervolume to it. The best on average over the worlds is
chosen, joins the front of each world as it is there, and so on: a batch does not buy one thing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.search.accuracy_model import AccuracyModel
from scbp_host.search.base import Observation, Problem, Proposal, Purpose
from scbp_host.search.design import covering
from scbp_host.search.forecast import Forecast, forecast, moments
from scbp_host.search.hypervolume import Reference, hypervolume, improvements
from scbp_host.search.known import KnownPool, Latest, known

Array = NDArray[np.float64]

# Of fewer trainings there is no scale to accuracies.
MIN_TRAININGS = 3
WORLDS = 128
# Drawn together are so many structures, the most promising each for itself: a joint draw grows with the cube.
SHORTLIST = 384
# Under a latency budget fast enough is fast enough, and the best is the most accurate in time. So what is in time
# counts on beyond the budget, for so much of it again: the corner of the hypervolume lies there.
BEYOND_BUDGET = 1.0
# Of the seed's latency where there is no budget: a network as slow as the seed is worth nothing.
_SEED_LATENCY = 1.0


@dataclass(frozen=True)
class _Window:
    """Which latencies count.

    Attributes:
        latest: what is slower is worth nothing.
        corner: of the hypervolume.
    """

    latest: float
    corner: float

    @classmethod
    def of(cls, figures: Forecast, limit: float | None) -> Self:
        """Return what is in time; ``limit`` is the budget."""
        if limit is not None:
            return cls(limit, (1.0 + BEYOND_BUDGET) * limit)
        # Where nothing can be faster than the seed, everything counts: it may be smaller, or more accurate.
        slowest = max(own.high for own in figures.latency)
        latest = _SEED_LATENCY if any(own.low < _SEED_LATENCY for own in figures.latency) else 1.01 * slowest
        return cls(latest, latest)

    def may_hold(self, figures: Forecast) -> NDArray[np.bool_]:
        """Return ``(n_pool,)``, which may be in time."""
        return np.asarray([own.low < self.latest for own in figures.latency])

    def counted(self, latency: Array) -> Array:
        """Put what is too late at the corner, where it is worth nothing."""
        return np.where(latency <= self.latest, latency, self.corner)


@dataclass(frozen=True)
class _Worlds:
    """What may be true; row by row of ``rows``.

    Attributes:
        rows: ``(n_rows,)`` of the pool.
        latency: ``(n_worlds, n_rows)`` ratios to the seed.
        accuracy: ``(n_worlds, n_rows)``.
        reference: from where the hypervolume counts.
        worth: ``(n_rows,)`` the chances that a structure is within the budgets the hypervolume does not know.
    """

    rows: NDArray[np.int64]
    latency: Array
    accuracy: Array
    reference: Reference
    worth: Array

    def front(self, rows: Sequence[int]) -> tuple[Array, Array]:
        """Return latencies and accuracies of some of the pool's rows."""
        columns = np.searchsorted(self.rows, rows)
        return self.latency[:, columns], self.accuracy[:, columns]

    def gains(self, front: Sequence[int]) -> Array:
        """Return ``(n_rows,)``: what each adds to the front on average."""
        gained = improvements(self.front(front), (self.latency, self.accuracy), self.reference)
        return np.asarray(gained.mean(axis=0) * self.worth)

    def volume(self, front: Sequence[int]) -> float:
        """Return the hypervolume of the front on average."""
        return float(hypervolume(*self.front(front), self.reference).mean())


@dataclass(frozen=True)
class _Ranks:
    """The guesses' ranks in place of accuracies, while there is no scale: only the order of guesses counts.

    Attributes:
        standing: ``(n_pool,)``, in (0, 1].
    """

    standing: Array

    @classmethod
    def of(cls, guess: Array) -> Self:
        """Rank guesses."""
        return cls(stats.rankdata(guess) / len(guess))

    def expect(self) -> tuple[Array, Array]:
        """Return the ranks, and that they are certain."""
        return self.standing, np.zeros_like(self.standing)

    def draw(self, rows: Sequence[int], worlds: int, random: np.random.Generator) -> Array:
        """Return ``(worlds, n_rows)``, the same in every world."""
        return np.broadcast_to(self.standing[list(rows)], (worlds, len(rows)))


class GuidedSearch:
    """Measures a spread, then what may be trained; trains what is expected to add most to the hypervolume.

    Args:
        problem: the pool and what is known of it.
        forecasts: of another search of the same pool, which may have fitted the same latencies; None keeps its own.
    """

    def __init__(self, problem: Problem, forecasts: Latest[Forecast | None] | None = None) -> None:
        self._problem = problem
        self._pool = KnownPool(problem.pool, problem.limits)
        # Measuring teaches nothing about accuracies, and training hardly anything about latencies.
        self._forecast = forecasts or Latest[Forecast | None]()
        self._accuracy = Latest[AccuracyModel]()

    def observe(self, observations: Sequence[Observation]) -> None:
        """Learn from measurements and trainings; those outside the pool are ignored."""
        self._pool.observe(observations)

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose what to measure or to train; nothing to train where that is expected to bring too little."""
        figures = self._forecast.of(self._pool.measurements, lambda: forecast(self._pool, self._problem))
        if figures is None:
            rows = (
                covering(self._problem.widths, count, self._problem.random_seed) if purpose is Purpose.MEASURE else []
            )
            return Proposal(self._pool.choose([row for row in rows if row not in self._pool.seen]), len(self._pool), 0)
        rows = self._pool.untried
        if purpose is Purpose.MEASURE:
            rows = [row for row in rows if row not in self._pool.seen]
        chosen, improvement = self._greedy(figures, rows, count)
        if not self._has_scale:
            return self._proposal(figures, chosen, None)
        if purpose is Purpose.TRAIN and improvement < self._problem.limits.min_improvement:
            chosen = []
        return self._proposal(figures, chosen, improvement)

    @property
    def _has_scale(self) -> bool:
        return len(self._pool.trained) >= MIN_TRAININGS

    def _proposal(self, figures: Forecast, chosen: Sequence[int], improvement: float | None) -> Proposal:
        plausible = int(np.count_nonzero(self._pool.possible & self._may_be_within(figures)))
        dropped = len(self._pool) - plausible
        return Proposal(self._pool.choose(chosen), plausible, dropped, figures.model, improvement)

    def _may_be_within(self, figures: Forecast) -> NDArray[np.bool_]:
        """Return ``(n_pool,)``, which may be in time and take no more of anything than they may."""
        in_time = self._window(figures).may_hold(figures)
        return np.asarray(in_time & figures.may_be_within(self._problem.limits.resources))

    def _window(self, figures: Forecast) -> _Window:
        return _Window.of(figures, self._problem.limits.latency_ratio)

    def _greedy(self, figures: Forecast, rows: Sequence[int], count: int) -> tuple[list[int], float]:
        """Return the batch, and how much the hypervolume is expected to grow by it, as a share."""
        if not rows:
            return [], 0.0
        worlds = self._worlds(figures, rows)
        front, chosen, total = self._competing(figures), [], 0.0
        open_to = np.isin(worlds.rows, rows) & self._may_be_within(figures)[worlds.rows]
        before = worlds.volume(front)
        for _ in range(count):
            gains = np.where(open_to, worlds.gains(front), -1.0)
            best = int(np.argmax(gains))
            if gains[best] <= 0.0:
                break  # in no world is anything left that would add something
            chosen.append(int(worlds.rows[best]))
            open_to[best] = False
            front.append(chosen[-1])
            total += float(gains[best])
        return chosen, total / max(before, 1e-12)

    def _worlds(self, figures: Forecast, rows: Sequence[int]) -> _Worlds:
        trained, window = self._pool.trained, self._window(figures)
        model, least = self._accuracies(trained)
        latency, latency_std = moments(figures.latency)
        reference = (window.corner, least)
        hopeful = _hopeful(window, reference, self._competing(figures), (latency, latency_std), model.expect())
        promising = sorted(rows, key=lambda row: (-float(hopeful[row]), row))[:SHORTLIST]
        drawn = np.unique([*promising, *trained])
        random = np.random.default_rng([self._problem.random_seed, len(self._pool.seen), len(trained)])
        noise = random.standard_normal((WORLDS, len(drawn)))
        return _Worlds(
            drawn,
            window.counted(np.maximum(latency[drawn] + latency_std[drawn] * noise, 1e-6)),
            model.draw(drawn.tolist(), WORLDS, random),
            reference,
            self._worth(figures)[drawn],
        )

    def _accuracies(self, trained: Sequence[int]) -> tuple[AccuracyModel | _Ranks, float]:
        """Return what is believed of accuracies, and the lowest that counts."""
        problem = self._problem
        if not self._has_scale:
            return _Ranks.of(problem.prior.guess), 0.0
        top1 = [known(self._pool.seen[row].val_top1) for row in trained]
        model = self._accuracy.of(
            (trained, top1),
            lambda: AccuracyModel(problem.prior, problem.widths, trained, top1, problem.seed_val_top1),
        )
        floor = problem.limits.min_val_top1
        return model, float(min(model.expect()[0].min(), *top1)) if floor is None else floor

    def _competing(self, figures: Forecast) -> list[int]:
        """Return the trained within the budgets that the hypervolume does not know: another takes nobody's place."""
        worth = self._worth(figures)
        return [row for row in self._pool.trained if worth[row] >= 0.5]

    def _worth(self, figures: Forecast) -> Array:
        return figures.chance_within(self._problem.limits.resources)


def _hopeful(
    window: _Window,
    reference: Reference,
    front: Sequence[int],
    latency: tuple[Array, Array],
    accuracy: tuple[Array, Array],
) -> Array:
    """Return ``(n_pool,)`` what a structure would add to the front if it were a deviation better in both.

    What gains nothing even then need not be drawn together with the others.

    Args:
        window: which latencies count.
        reference: from where the hypervolume counts.
        front: rows of the trained that compete.
        latency: expectations and deviations, each ``(n_pool,)``.
        accuracy: the same.
    """
    (time, time_std), (top1, top1_std) = latency, accuracy
    there = window.counted(time[None, front]), top1[None, front]
    optimistic = window.counted(time[None] - time_std[None]), top1[None] + top1_std[None]
    gained: Array = improvements(there, optimistic, reference)[0]
    return gained
