"""Training one candidate as the run's configuration says, in the run's process or in a worker's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.space.seeds import Module
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.recipes import candidate_recipe
from scbp_host.tasks.base import Task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.trainer import TrainResult, train

OnEpoch = Callable[[int, int, float], None]


class CandidateTrainer:
    """Trains candidates one by one.

    Args:
        config: the run's.
        task: the run's.
        source: the trained seed, which candidates are distilled from.
        inheritance: what candidates start with.
    """

    def __init__(self, config: RunConfig, task: Task, source: Module, inheritance: Inheritance) -> None:
        self._config = config
        self._task = task
        self._inheritance = inheritance
        self._teacher = RememberingTeacher(source) if config.distill else None

    def train(
        self, candidate: Candidate, checkpoint: Path, on_epoch: OnEpoch, until: int | None = None
    ) -> tuple[Module, TrainResult] | Failure:
        """Train a candidate, from the checkpoint on where there is one.

        Args:
            candidate: which.
            checkpoint: where its training keeps its state.
            on_epoch: called after each epoch with (epochs done, epochs, validation top-1).
            until: stop after this many epochs; None trains to the end.
        """
        try:
            module = self._inheritance.start(candidate)
        except ModelError as error:
            return Failure(FailureKind.DERIVE_FAILED, error.message, error.hint)
        result = train(
            module,
            self._task,
            candidate_recipe(self._config),
            self._config.random_seed,
            self._teacher,
            on_epoch,
            checkpoint=checkpoint,
            until=until,
        )
        return result if isinstance(result, Failure) else (module, result)
