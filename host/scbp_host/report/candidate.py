"""The schema of ``summary.json``: of one candidate; ``docs/summary.md`` documents every key with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from scbp_host.domain.alone import Energy, Phase
from scbp_host.domain.outcome import Failure


class Record(BaseModel):
    """What all of the schema's models are: frozen, and without keys that they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FailureRecord(Record):
    """Why a candidate has no result."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """Return a failure's record."""
        return cls(kind=failure.kind.value, message=failure.message, hint=failure.hint)


class PhaseRecord(Record):
    """One phase of a worker that held the model alone; MB of 10^6 bytes, which overlap and are never summed."""

    name: str
    ms: float
    peak_mb: float
    peak_is_own: bool
    pss_mb: float | None
    gpu_mb: float | None
    gpu_source: str | None
    system_mb: float | None

    @classmethod
    def of(cls, name: str, phase: Phase) -> Self:
        """Return a phase's record."""
        return cls(
            name=name,
            ms=phase.duration_ns / 1e6,
            peak_mb=phase.peak_rss_bytes / 1e6,
            peak_is_own=phase.peak_is_own,
            pss_mb=phase.pss_bytes and phase.pss_bytes / 1e6,
            gpu_mb=phase.gpu_bytes and phase.gpu_bytes / 1e6,
            gpu_source=phase.gpu_source,
            system_mb=None if phase.system_bytes is None else phase.system_bytes / 1e6,
        )


class EnergyRecord(Record):
    """What one inference took of the board's supply, and who says so."""

    mj: float
    mean_w: float
    sampler: str
    rails: tuple[str, ...]
    samples: int

    @classmethod
    def of(cls, energy: Energy) -> Self:
        """Return an energy's record."""
        return cls(
            mj=energy.joules * 1e3,
            mean_w=energy.mean_w,
            sampler=energy.sampler,
            rails=energy.rails,
            samples=energy.samples,
        )


class ChancesRecord(Record):
    """How sure the ranking is of one candidate: probabilities, None where there is no such budget."""

    on_front: float
    latency: float | None = None
    memory: float | None = None
    energy: float | None = None
    accuracy: float | None = None

    @property
    def of_budgets(self) -> dict[str, float]:
        """The chances of meeting each budget that there is, by its name."""
        every = self.model_dump(exclude={"on_front"})
        return {name: chance for name, chance in every.items() if chance is not None}


class CandidateRecord(Record):
    """The seed or one structure, in one precision, with everything that was measured on it."""

    id: str
    ratios: tuple[float, ...]
    precision: str = "fp32"
    in_float: tuple[str, ...] = ()
    status: Literal["reference", "measured", "halved", "trained", "failed"]
    params: int | None = None
    macs: int | None = None
    onnx_bytes: int | None = None
    wire_bytes: int | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_ci95: tuple[float, float] | None = None
    peak_memory_mb: float | None = None
    load_ms: float | None = None
    warm_load_ms: float | None = None
    build_s: float | None = None
    energy: EnergyRecord | None = None
    phases: tuple[PhaseRecord, ...] = ()
    gpu_ms: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()
    missed_frames: int | None = None
    loads: int | None = None
    batches_discarded: int | None = None
    stopped_by: str | None = None
    builds: int | None = None
    val_top1: float | None = None
    test_top1: float | None = None
    rung_epochs: int | None = None
    rung_val_top1: float | None = None
    on_front: bool = False
    meets_budgets: bool | None = None
    chances: ChancesRecord | None = None
    tied_with_best: bool = False
    failure: FailureRecord | None = None
    verdicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The ratios as people say them, e.g. ``0.5/0.25/1/1``, and the precision where it is not float32."""
        ratios = "/".join(f"{ratio:g}" for ratio in self.ratios)
        return ratios if self.precision == "fp32" else f"{ratios} {self.precision}"

    @property
    def structure_id(self) -> str:
        """The structure's id, which its precisions share."""
        return self.id.partition("@")[0]
