"""The slimmable seed: trained once, then asked for the accuracy of any candidate; each answer acknowledged."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.errors import ModelError
from scbp_host.events import Progress, StageStarted
from scbp_host.space.importance import Scores
from scbp_host.space.seeds import Module
from scbp_host.space.slices import Carver, Carving
from scbp_host.stages.context import RunContext
from scbp_host.stages.estimates import Estimates
from scbp_host.stages.ledger import Payload
from scbp_host.stages.recipes import supernet_recipe
from scbp_host.training.supernet import estimate_top1, train_supernet

SUPERNET = "supernet"
# Structures that share the training, and are estimated before the first proposal: of a larger pool a uniform sample.
SAMPLE = 128


class Supernet(Estimates):
    """Estimates a structure by its slice of the slimmable seed.

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
        super().__init__(run, seed, pool, SAMPLE)
        self._source = source
        self._carver = Carver(source, run.spec, scores)
        self._shared: Module | None = None

    def prepare(self) -> None:
        """Train, and estimate the seed and the sample; what is acknowledged is not done again."""
        self._trained()
        super().prepare()

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

    def _top1(self, candidate: Candidate) -> float:
        return estimate_top1(self._carver.carve(candidate), self._trained(), self._run.task)

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
