"""The slimmable seed: trained once, then asked for the accuracy of any candidate; each answer acknowledged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.events import Progress, StageStarted
from scbp_host.search.accuracy import AccuracyPrior, prior_of_estimates
from scbp_host.space.importance import Scores
from scbp_host.space.seeds import Module
from scbp_host.space.slices import Carver, Carving
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.recipes import supernet_recipe
from scbp_host.training.supernet import estimate_top1, train_supernet

SUPERNET, ESTIMATE = "supernet", "estimate"
# Structures that share the training, and are estimated before the first proposal: of a larger pool a uniform sample.
SAMPLE = 128
# Of a larger pool, what is about to be trained is chosen from so many estimated ones for each that is wanted.
SHORTLIST_FACTOR = 4


class Supernet:
    """Estimates candidates' accuracies.

    Args:
        run: the run.
        seed: the seed as a point of the space.
        pool: the structures searched.
        source: the trained seed, which the slimmable one begins as; stays as it is.
        scores: which of the seed's channels a candidate keeps, and shares.
    """

    def __init__(
        self, run: RunContext, seed: Candidate, pool: Sequence[Candidate], source: Module, scores: Scores
    ) -> None:
        self._run = run
        self._seed = seed
        self._pool = pool
        rows = np.random.default_rng(run.config.random_seed).permutation(len(pool))[:SAMPLE]
        self._sample = [pool[row] for row in np.sort(rows)]
        self._source = source
        self._carver = Carver(source, run.spec, scores)
        self._shared: Module | None = None

    def prepare(self) -> None:
        """Train, and estimate the seed and the sample; what is acknowledged is not done again."""
        self._trained()
        self.estimate([self._seed, *self._sample])

    def refine(self, propose: Callable[[int], Sequence[Candidate]], count: int) -> None:
        """Estimate what ``propose`` would take if ``SHORTLIST_FACTOR`` times ``count`` were wanted."""
        if len(self._pool) > len(self._sample):
            self.estimate(propose(SHORTLIST_FACTOR * count))

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

    def _trained(self) -> Module:
        if self._shared is None:
            payload = self._run.ledger.must(SUPERNET, SUPERNET, self._train)
            self._run.artifacts.checkpoint(SUPERNET).unlink(missing_ok=True)
            self._shared = self._run.artifacts.load_module(SUPERNET, payload["weights_sha256"])
        return self._shared

    def _train(self) -> Payload | Failure:
        run, module, recipe = self._run, copy.deepcopy(self._source), supernet_recipe(self._run.config)
        metric = run.task.metric.name
        run.listen(StageStarted(SUPERNET, "train the slimmable seed", recipe.epochs))
        result = train_supernet(
            module,
            run.task,
            recipe,
            run.config.random_seed,
            self._narrowest(),
            len(self._sample),
            self._other,
            lambda epoch, _, score: run.listen(Progress(SUPERNET, epoch, f"widest: validation {metric} {score:.3f}")),
            run.artifacts.checkpoint(SUPERNET),
        )
        if isinstance(result, Failure):
            return result
        return {
            "val_top1": result.val_top1,
            "epochs": result.epochs,
            "device": result.device,
            "weights_sha256": run.artifacts.save_module(self._seed, module, SUPERNET),
        }

    def _estimate(self, candidate: Candidate) -> Payload | Failure:
        try:
            part = self._carver.carve(candidate)
        except ModelError as error:
            return Failure(FailureKind.DERIVE_FAILED, error.message, error.hint)
        return {"val_top1": estimate_top1(part, self._trained(), self._run.task)}

    def _narrowest(self) -> Carving:
        for candidate in sorted(self._pool, key=_size):
            try:
                return self._carver.carve(candidate)
            except ModelError as error:
                reason = error
        raise reason

    def _other(self, index: int) -> Carving:
        try:
            return self._carver.carve(self._sample[index])
        except ModelError:
            return self._narrowest()  # what cannot be derived is a failure where it is estimated, and no reason to stop


def _size(candidate: Candidate) -> int:
    return sum(width for _, width in candidate.widths)
