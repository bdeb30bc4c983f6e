"""Where a run takes its guesses of accuracy from, before it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import Accuracy
from scbp_host.domain.candidate import Candidate
from scbp_host.search.accuracy import AccuracyPrior, prior_of_importance
from scbp_host.search.one_shot import importance_kept
from scbp_host.space.seeds import Module
from scbp_host.stages.context import RunContext
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.refitted import Refitted
from scbp_host.stages.supernet import Supernet

Propose = Callable[[int], Sequence[Candidate]]


class Foresight(Protocol):
    """Guesses accuracies of the pool's structures."""

    def prepare(self) -> None:
        """Do what the first guess needs, once."""
        ...

    def refine(self, propose: Propose, count: int) -> None:
        """Look closer, before ``count`` structures are chosen, at those that ``propose`` would take of more."""
        ...

    def prior(self, widths: NDArray[np.float64]) -> AccuracyPrior:
        """Return the guesses; ``widths`` as for the search."""
        ...


class ByImportance:
    """Guesses by the share of the seed's importance that a structure keeps.

    Args:
        pool: the structures searched.
        inheritance: knows the shares.
    """

    def __init__(self, pool: Sequence[Candidate], inheritance: Inheritance) -> None:
        self._pool = pool
        self._inheritance = inheritance

    def prepare(self) -> None:
        """Nothing: the shares cost seconds."""

    def refine(self, propose: Propose, count: int) -> None:
        """Nothing: the shares of all are known."""

    def prior(self, widths: NDArray[np.float64]) -> AccuracyPrior:
        """See :class:`Foresight`."""
        return prior_of_importance(importance_kept(self._pool, self._inheritance.shares()), widths)


def make_foresight(
    run: RunContext, seed: Candidate, pool: Sequence[Candidate], source: Module, inheritance: Inheritance
) -> Foresight:
    """Return what the run's configuration asks for.

    Args:
        run: the run.
        seed: the seed as a point of the space.
        pool: the structures searched.
        source: the trained seed.
        inheritance: which of its channels candidates keep.
    """
    makers: Mapping[Accuracy, Callable[[], Foresight]] = {
        "importance": lambda: ByImportance(pool, inheritance),
        "refit": lambda: Refitted(run, seed, pool, inheritance),
        "supernet": lambda: Supernet(run, seed, pool, source, inheritance.scores),
    }
    return makers[run.config.accuracy_guess]()
