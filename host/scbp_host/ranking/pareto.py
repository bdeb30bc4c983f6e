"""The Pareto front over (validation top-1, latency, peak memory, ONNX bytes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import MEMORY, Resource


@dataclass(frozen=True)
class Objectives:
    """What candidates compete on.

    Attributes:
        top1: validation accuracy, a fraction; more is better.
        latency_ms: p50 with its interval; less is better, as all below.
        resources: what it takes of each, as far as the board tells; memory always, the one that is on the front.
        onnx_bytes: size of the file.
        top1_std: standard deviation of ``top1``; 0 where it is not known.
    """

    top1: float
    latency_ms: Interval
    resources: Mapping[Resource, float]
    onnx_bytes: int
    top1_std: float = 0.0

    @property
    def memory_mb(self) -> float:
        """Peak memory."""
        return self.resources[MEMORY]


def dominates(first: Objectives, second: Objectives) -> bool:
    """Say whether ``first`` is nowhere worse than ``second`` and somewhere better.

    A latency counts as better only where the intervals do not overlap: noise alone drops nobody from the front.
    """
    nowhere_worse = (
        first.top1 >= second.top1
        and first.latency_ms.value <= second.latency_ms.value
        and first.memory_mb <= second.memory_mb
        and first.onnx_bytes <= second.onnx_bytes
    )
    somewhere_better = (
        first.top1 > second.top1
        or first.latency_ms.high < second.latency_ms.low
        or first.memory_mb < second.memory_mb
        or first.onnx_bytes < second.onnx_bytes
    )
    return nowhere_worse and somewhere_better


def pareto_front(points: Sequence[Objectives]) -> list[bool]:
    """Say for each point whether no other dominates it."""
    return [not any(dominates(other, point) for other in points) for point in points]
