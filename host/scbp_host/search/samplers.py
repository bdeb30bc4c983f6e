"""Optuna's samplers over the pool: what they ask for is a point of the grid of widths, and the nearest untried
structure is trained for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution

from scbp_host.search.base import Observation, Problem, Proposal, Purpose
from scbp_host.search.known import KnownPool, known

# Optuna's default, 50, is more than most runs train: it would be a random search.
POPULATION = 8


MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
"""Takes a random seed."""


def nsga2(seed: int) -> optuna.samplers.BaseSampler:
    """Return the genetic algorithm of Deb et al., 2002, with small generations."""
    return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Return the tree-structured Parzen estimator over all superblocks at once."""
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def gp(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's own Gaussian processes, one for each objective."""
    return optuna.samplers.GPSampler(seed=seed)


class SampledSearch:
    """Asks a sampler for less latency and more accuracy at once; measures nothing but what it trains.

    Args:
        problem: the pool and what is known of it.
        make_sampler: makes one of Optuna's.
    """

    def __init__(self, problem: Problem, make_sampler: MakeSampler) -> None:
        self._pool = KnownPool(problem.pool, problem.limits)
        self._make_sampler = make_sampler
        self._random_seed = problem.random_seed
        self._levels = np.stack([_levels(column) for column in problem.widths.T], axis=1)
        self._space: dict[str, BaseDistribution] = {
            f"superblock-{own}": IntDistribution(0, int(top)) for own, top in enumerate(self._levels.max(0))
        }

    def observe(self, observations: Sequence[Observation]) -> None:
        """Remember trainings, for the sampler to be told of."""
        self._pool.observe(observations)

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose what the sampler asks for next."""
        if purpose is Purpose.MEASURE:
            return Proposal((), len(self._pool), 0)
        untried = self._pool.untried
        study = self._study()
        chosen: list[int] = []
        while len(chosen) < min(count, len(untried)):
            asked = study.ask(self._space).params
            chosen.append(self._nearest(asked, [row for row in untried if row not in chosen]))
        plausible = int(np.count_nonzero(self._pool.possible))
        return Proposal(self._pool.choose(chosen), plausible, len(self._pool) - plausible)

    def _study(self) -> optuna.Study:
        """Return a study that knows every training so far; the same trainings make the same study."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = int(np.random.SeedSequence([self._random_seed, len(self._pool.trained)]).generate_state(1)[0])
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=self._make_sampler(seed))
        for row in self._pool.trained:
            self._tell(study, row)
        return study

    def _tell(self, study: optuna.Study, row: int) -> None:
        seen = self._pool.seen[row]
        study.enqueue_trial({name: int(level) for name, level in zip(self._space, self._levels[row], strict=True)})
        trial = study.ask(self._space)
        if isinstance(study.sampler, optuna.samplers.BaseGASampler):
            # It counts only what has a generation, and gives one only to what it chose itself.
            study.sampler.get_trial_generation(study, study.trials[trial.number])
        study.tell(trial, [known(seen.latency_ratio).value, known(seen.val_top1)])

    def _nearest(self, asked: dict[str, int], rows: Sequence[int]) -> int:
        steps = np.abs(self._levels[rows] - np.asarray([asked[name] for name in self._space])).sum(axis=1)
        nearest = np.flatnonzero(steps == steps.min())
        # One of several equally near ones by lot, but always the same one: the first would favour wide structures.
        draw = np.random.default_rng([self._random_seed, *asked.values()])
        return rows[int(draw.choice(nearest))]


def _levels(widths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each width its place among the distinct ones, from 0, the narrowest."""
    return np.asarray(np.unique(widths, return_inverse=True)[1], dtype=np.int64)
