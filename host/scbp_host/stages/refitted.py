"""Estimates without any training: what a structure's accuracy is when its layers have been fitted to the seed's."""

from __future__ import annotations

from collections.abc import Sequence

from scbp_host.domain.candidate import Candidate
from scbp_host.stages.context import RunContext
from scbp_host.stages.estimates import Estimates
from scbp_host.stages.inheritance import Inheritance
from scbp_host.training.inference import evaluate

# Estimated before the first proposal. A second-order model of four widths has 14 coefficients.
SAMPLE = 24


class Refitted(Estimates):
    """Estimates a structure by the network that its training would start from.

    Args:
        run: the run.
        seed: the seed as a point of the space.
        pool: the structures searched.
        inheritance: derives and fits candidates.
    """

    def __init__(self, run: RunContext, seed: Candidate, pool: Sequence[Candidate], inheritance: Inheritance) -> None:
        super().__init__(run, seed, pool, SAMPLE)
        self._inheritance = inheritance

    def _top1(self, candidate: Candidate) -> float:
        task = self._run.task
        return evaluate(self._inheritance.start(candidate), task.validation, task.metric)
