"""The seam every search strategy stands behind: ``propose`` and ``observe``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import Resource
from scbp_host.latency.base import Features, LeaveOneOut
from scbp_host.latency.transfer import Experience
from scbp_host.search.accuracy import AccuracyPrior


class Purpose(StrEnum):
    """What a proposal is for: a measurement costs seconds, a training minutes."""

    MEASURE = "measure"
    TRAIN = "train"


@dataclass(frozen=True)
class Observation:
    """What is known of one candidate so far; a later one of the same candidate replaces it.

    Attributes:
        candidate: which.
        latency_ratio: to the seed, with its interval; None where the measurement failed.
        floor_ratio: latency by the fast runs, relative to any one network; None stands for ``latency_ratio``.
        time_shares: each superblock's share of the latency, and the head's; None where its layers were not profiled.
        resources: what it takes of each, as far as a measurement told.
        onnx_bytes: None where the export failed.
        val_top1: None until it is trained.
        failed: it has no result and will not get one.
        halved: it fell behind its like early, and is not trained to the end.
    """

    candidate: Candidate
    latency_ratio: Interval | None = None
    resources: Mapping[Resource, float] = field(default_factory=dict)
    onnx_bytes: int | None = None
    val_top1: float | None = None
    failed: bool = False
    floor_ratio: float | None = None
    time_shares: tuple[float, ...] | None = None
    halved: bool = False


@dataclass(frozen=True)
class Limits:
    """Budgets in the strategy's own terms; None, or a resource that is missing, sets none.

    Attributes:
        latency_ratio: latest budget as a ratio to the seed.
        resources: of what a model may take of each.
        min_val_top1: the lowest accuracy that is acceptable.
        min_improvement: a batch is worth training that is expected to add at least this share to the hypervolume.
    """

    latency_ratio: float | None = None
    resources: Mapping[Resource, float] = field(default_factory=dict)
    min_val_top1: float | None = None
    min_improvement: float = 0.0

    def exceeded_by(self, observation: Observation) -> bool:
        """Return whether a measurement shows more latency, or more of a resource, than allowed.

        Latency counts by its upper bound, as in the ranking; what is not measured exceeds nothing.
        """
        latency, amounts = observation.latency_ratio, observation.resources
        too_slow = self.latency_ratio is not None and latency is not None and latency.high > self.latency_ratio
        return too_slow or any(amounts.get(own, 0.0) > limit for own, limit in self.resources.items())


@dataclass(frozen=True)
class Problem:
    """What is searched, and for what: all that a strategy is made from.

    Attributes:
        pool: every structure of the space, once.
        widths: ``(n_pool, n_superblocks)`` channels kept / the seed's channels, for each superblock.
        prior: what is known of accuracies before anything is trained.
        limits: the budgets.
        seed_val_top1: the seed's validation accuracy.
        random_seed: decides everything that is drawn.
        experience: what earlier runs measured, maybe on other devices or of other seeds.
        work: what latency follows beside the widths, such as a roofline; None adds nothing.
    """

    pool: Sequence[Candidate]
    widths: NDArray[np.float64]
    prior: AccuracyPrior
    limits: Limits
    seed_val_top1: float
    random_seed: int
    experience: Experience = field(default_factory=Experience)
    work: Features | None = None


@dataclass(frozen=True)
class Proposal:
    """What to do next, and what the strategy made of the space.

    Attributes:
        candidates: to measure or to train, the most promising first.
        plausible: structures that can still be on the front within the limits.
        dropped: structures that cannot.
        model: leave-one-out quality of the latency model; None before there is one.
        improvement: by how much the batch is expected to add to the hypervolume, as a share of it; None where the
            strategy does not ask.
    """

    candidates: tuple[Candidate, ...]
    plausible: int
    dropped: int
    model: LeaveOneOut | None = None
    improvement: float | None = None


class Strategy(Protocol):
    """A search strategy. What it proposes depends on what it observed and on its random seed alone."""

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose at most ``count`` candidates."""
        ...

    def observe(self, observations: Sequence[Observation]) -> None:
        """Learn from measurements and trainings."""
        ...
