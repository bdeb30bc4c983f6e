"""What a search has observed of its pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.search.base import Limits, Observation

T = TypeVar("T")


class KnownPool:
    """The structures searched, by row, and the newest observation of each.

    Args:
        pool: every structure of the space, once.
        limits: the budgets.
    """

    def __init__(self, pool: Sequence[Candidate], limits: Limits) -> None:
        self.candidates = tuple(pool)
        self.seen: dict[int, Observation] = {}
        self._limits = limits
        self._index = {candidate.structure_id: row for row, candidate in enumerate(self.candidates)}

    def __len__(self) -> int:
        return len(self.candidates)

    def observe(self, observations: Sequence[Observation]) -> None:
        """Remember the newest observation of each structure; those outside the pool are ignored."""
        for observation in observations:
            row = self._index.get(observation.candidate.structure_id)
            if row is not None:
                self.seen[row] = observation

    def choose(self, rows: Sequence[int]) -> tuple[Candidate, ...]:
        """Return the structures of these rows."""
        return tuple(self.candidates[row] for row in rows)

    @property
    def measured(self) -> list[int]:
        """Rows whose latency is known, in the order they were first observed."""
        return [row for row, seen in self.seen.items() if seen.latency_ratio is not None]

    @property
    def measurements(self) -> list[tuple[object, ...]]:
        """All that was measured, structure by structure: what forecasts follow from."""
        seen = [(row, self.seen[row]) for row in self.measured]
        return [
            (row, own.latency_ratio, own.floor_ratio, own.time_shares, own.resources, own.onnx_bytes)
            for row, own in seen
        ]

    @property
    def trained(self) -> list[int]:
        """Rows whose accuracy is known, in the order they were first observed."""
        return [row for row, seen in self.seen.items() if seen.val_top1 is not None]

    @property
    def untried(self) -> list[int]:
        """Rows that may still be trained: not tried yet, and not measured to be out of the budgets."""
        return [row for row in range(len(self)) if self.is_untried(row)]

    def is_untried(self, row: int) -> bool:
        """Return whether a structure may still be trained."""
        return self._is_possible(row) and (row not in self.seen or self.seen[row].val_top1 is None)

    @property
    def possible(self) -> NDArray[np.bool_]:
        """``(n_pool,)``, which can be on the front by what was observed, trained or not."""
        return np.asarray([self._is_possible(row) for row in range(len(self))])

    def _is_possible(self, row: int) -> bool:
        seen = self.seen.get(row)
        # What is measured to be too slow would not be ranked either.
        return seen is None or not (seen.failed or seen.halved or self._limits.exceeded_by(seen))


class Latest(Generic[T]):
    """The newest result of something costly, kept until what it follows from is another."""

    def __init__(self) -> None:
        self._kept: tuple[object, T] | None = None

    def of(self, key: object, compute: Callable[[], T]) -> T:
        """Return the result; ``key`` is all that it follows from."""
        if self._kept is None or self._kept[0] != key:
            self._kept = key, compute()
        return self._kept[1]


def known(value: T | None) -> T:
    """Return what is not None: a figure of a structure that was measured or trained."""
    assert value is not None, "only measured or trained structures come here"
    return value
