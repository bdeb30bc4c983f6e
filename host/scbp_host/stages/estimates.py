"""Estimated accuracies of structures that are not trained: each made once and acknowledged, and what they foretell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.events import Progress, StageStarted
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload

ESTIMATE = "estimate"
# Of a larger pool, so many are estimated for each that is to be trained, and then twice what would be chosen by that:
# predictions that are too good are chosen most.
SHORTLIST_FACTORS = (4, 1, 1)


class Estimates(ABC):
    """Estimates a sample of the pool, then what may be trained.

    Args:
        run: the run.
        seed: the seed as a point of the space.
        pool: the structures searched.
        sample: how many are estimated before the first proposal: of a larger pool a uniform sample.
    """

    def __init__(self, run: RunContext, seed: Candidate, pool: Sequence[Candidate], sample: int) -> None:
        self._run = run
        self._seed = seed
        self._pool = pool
        rows = np.random.default_rng(run.config.random_seed).permutation(len(pool))[:sample]
        self._sample = [pool[row] for row in np.sort(rows)]

    @abstractmethod
    def _top1(self, candidate: Candidate) -> float:
        """Return the estimate, in [0, 1]; raises ModelError where the candidate cannot be derived."""

    def prepare(self) -> None:
        """Estimate the seed and the sample; what is acknowledged is not done again."""
        self.estimate([self._seed, *self._sample])

    def refine(self, propose: Callable[[int], Sequence[Candidate]], count: int) -> None:
        """Estimate what ``propose`` would take if ``SHORTLIST_FACTORS`` times ``count`` were wanted, one by one."""
        if len(self._pool) > len(self._sample):
            for factor in SHORTLIST_FACTORS:
                self.estimate(propose(factor * count))

    def estimate(self, candidates: Sequence[Candidate]) -> None:
        """Estimate those that have no estimate yet; what cannot be derived is a failure in the store."""
        known = self._run.ledger.payloads(ESTIMATE)
        waiting = [own for own in candidates if own.structure_id not in known]
        if not waiting:
            return
        self._run.listen(StageStarted(ESTIMATE, "estimate accuracies, untrained", len(waiting)))
        for done, candidate in enumerate(waiting, start=1):
            self._run.ledger.once(ESTIMATE, candidate.structure_id, partial(self._estimate, candidate))
            self._run.listen(Progress(ESTIMATE, done))

    def prior(self, widths: NDArray[np.float64]) -> AccuracyPrior:
        """Return what the estimates so far say of the pool; ``widths`` as for the search."""
        known = {own: float(payload["val_top1"]) for own, payload in self._run.ledger.payloads(ESTIMATE).items()}
        estimates = np.asarray([known.get(own.structure_id, np.nan) for own in self._pool])
        return prior_of_estimates(estimates, known[self._seed.structure_id], widths)

    def _estimate(self, candidate: Candidate) -> Payload | Failure:
        try:
            return {"val_top1": self._top1(candidate)}
        except ModelError as error:
            return Failure(FailureKind.DERIVE_FAILED, error.message, error.hint)
