"""What the device said about one model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from scbp_host.domain.alone import Alone
from scbp_host.domain.verdict import Verdict


@dataclass(frozen=True)
class Interval:
    """A value with its interval, e.g. a latency ratio with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """Multiply value and bounds by a positive factor."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def over(self, other: Interval) -> Interval:
        """Return the quotient of two independent positive figures; their relative errors add up as squares."""
        value = self.value / other.value
        down = math.hypot(math.log(self.value / self.low), math.log(other.high / other.value))
        up = math.hypot(math.log(self.high / self.value), math.log(other.value / other.low))
        return Interval(value, value * math.exp(-down), value * math.exp(up))

    @property
    def relative_width(self) -> float:
        """The interval's width as a share of the value."""
        return (self.high - self.low) / self.value

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width as a share of the value: 0.05 reads ±5 %."""
        return (self.high - self.low) / 2.0 / self.value


class Stopped(StrEnum):
    """Why no more was measured: the settings' number of loads, an interval that is narrow enough, the time spent."""

    FIXED = "fixed"
    CI_WIDTH = "ci_width"
    BUDGET = "budget"


@dataclass(frozen=True)
class Sampling:
    """How the samples of a measurement came about.

    Attributes:
        loads: how often the models were loaded anew; the blocks are in load order, as many after each.
        stopped: why there were no more.
        seconds: from the first batch to the last, what was thrown away included.
        discarded: batches of loads that were thrown away and repeated, since the board throttled or others used it.
        together: how many models took turns, the reference among them.
        alternating: the models did not fit beside each other, and took turns in workers of their own.
    """

    loads: int
    stopped: Stopped = Stopped.FIXED
    seconds: float = 0.0
    discarded: int = 0
    together: int = 2
    alternating: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return {**asdict(self), "stopped": self.stopped.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sampling:
        """Rebuild from :meth:`to_json`'s form."""
        return cls(**{**data, "stopped": Stopped(data["stopped"])})


@dataclass(frozen=True)
class Measurement:
    """One model measured beside the reference, and alone.

    Attributes:
        ratio: candidate latency / reference latency, from the medians of paired blocks, with its 95 % interval.
        candidate_blocks_ns: raw samples, one tuple for each block, in the order taken.
        reference_blocks_ns: the same for the reference.
        peak_rss_bytes: VmHWM of a fresh worker that held this model alone.
        baseline_rss_bytes: that worker's VmHWM before it loaded the model (interpreter and runtime).
        load_ns: time to load the model in that worker.
        conditions: what the board said of itself before and after (clocks, load, temperatures), as recorded.
        verdicts: why the figures may be off.
        candidate_warmup_ns: raw samples of the warm-ups, load after load.
        reference_warmup_ns: the same for the reference.
        period_ns: each run began at a multiple of it, as a camera gives frames; None is a tight loop.
        missed_periods: frames that came and went during a run, of both models; None for a tight loop.
        alone: what the model showed in workers of its own; None in runs of older versions.
        sampling: how the samples came about; None in runs of older versions.
        builds: the ratio of each build of the model's engine, of which ``ratio`` is the whole; empty where one counts.
    """

    ratio: Interval
    candidate_blocks_ns: tuple[tuple[int, ...], ...]
    reference_blocks_ns: tuple[tuple[int, ...], ...]
    peak_rss_bytes: int
    baseline_rss_bytes: int
    load_ns: int
    conditions: dict[str, Any]
    verdicts: tuple[Verdict, ...] = ()
    candidate_warmup_ns: tuple[int, ...] = ()
    reference_warmup_ns: tuple[int, ...] = ()
    period_ns: int | None = None
    missed_periods: int | None = None
    alone: Alone | None = None
    sampling: Sampling | None = None
    builds: tuple[Interval, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the verdicts as lines, each with its remedy."""
        return tuple(map(str, self.verdicts))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return {
            "ratio": [self.ratio.value, self.ratio.low, self.ratio.high],
            "candidate_blocks_ns": [list(block) for block in self.candidate_blocks_ns],
            "reference_blocks_ns": [list(block) for block in self.reference_blocks_ns],
            "peak_rss_bytes": self.peak_rss_bytes,
            "baseline_rss_bytes": self.baseline_rss_bytes,
            "load_ns": self.load_ns,
            "conditions": self.conditions,
            "verdicts": [own.to_json() for own in self.verdicts],
            "candidate_warmup_ns": list(self.candidate_warmup_ns),
            "reference_warmup_ns": list(self.reference_warmup_ns),
            "period_ns": self.period_ns,
            "missed_periods": self.missed_periods,
            "alone": self.alone and self.alone.to_json(),
            "sampling": self.sampling and self.sampling.to_json(),
            "builds": [[own.value, own.low, own.high] for own in self.builds],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Measurement:
        """Rebuild from :meth:`to_json`'s form."""
        return cls(
            Interval(*data["ratio"]),
            tuple(tuple(block) for block in data["candidate_blocks_ns"]),
            tuple(tuple(block) for block in data["reference_blocks_ns"]),
            int(data["peak_rss_bytes"]),
            int(data["baseline_rss_bytes"]),
            int(data["load_ns"]),
            dict(data["conditions"]),
            tuple(map(Verdict.from_json, data["verdicts"] if "verdicts" in data else data["warnings"])),
            tuple(data.get("candidate_warmup_ns", ())),
            tuple(data.get("reference_warmup_ns", ())),
            data.get("period_ns"),
            data.get("missed_periods"),
            Alone.from_json(data["alone"]) if data.get("alone") else None,
            Sampling.from_json(data["sampling"]) if data.get("sampling") else None,
            tuple(Interval(*own) for own in data.get("builds", ())),
        )


@dataclass(frozen=True)
class NodeLatency:
    """One node of a model as the device's runtime executed it, fused with its neighbours where the runtime does that.

    Attributes:
        name: as the runtime calls it.
        op_type: its operator, e.g. ``Conv``.
        latency_ns: median over the runs, under the runtime's profiler, which slows a model down: only shares count.
    """

    name: str
    op_type: str
    latency_ns: int


@dataclass(frozen=True)
class LayerLatencies:
    """The time of every node, charged to the layers of the network that was exported.

    Attributes:
        latency_ns: ns by layer, i.e. module name; a layer that no node belongs to is missing.
        unattributed_share: share of the time of nodes whose names say nothing, e.g. those that the runtime adds to
            change a tensor's layout; it is charged to the layer before them, in the order executed.
    """

    latency_ns: Mapping[str, int]
    unattributed_share: float
