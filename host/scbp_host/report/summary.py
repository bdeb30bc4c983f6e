"""The schema of ``summary.json``; ``docs/summary.md`` documents every key with its unit.

Accuracies are fractions, MB are 10^6 bytes, unmeasured is None. Models are frozen and refuse keys they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from scbp_host.domain.alone import Energy, Phase
from scbp_host.domain.candidate import Superblock
from scbp_host.domain.outcome import Failure

SCHEMA_VERSION: Literal[1] = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FailureRecord(_Record):
    """Why a candidate has no result."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """Return a failure's record."""
        return cls(kind=failure.kind.value, message=failure.message, hint=failure.hint)


class PhaseRecord(_Record):
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


class EnergyRecord(_Record):
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


class ChancesRecord(_Record):
    """How sure the ranking is of one candidate: probabilities, None where there is no such budget."""

    on_front: float
    latency: float | None = None
    memory: float | None = None
    accuracy: float | None = None


class CandidateRecord(_Record):
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


class ClocksRecord(_Record):
    """What the board's clocks did when the run began; the defaults are what runs had that did not look."""

    asked: bool = False
    policy: str | None = None
    power_mode: str | None = None


class DeviceRecord(_Record):
    """The board that decided, and what it said of itself."""

    name: str
    title: str
    board: str
    os_release: str
    python: str
    runtime: str
    runtime_version: str
    transport: str
    threads: int
    agent_sha256: str
    facts: Mapping[str, Any]
    runtime_settings: Mapping[str, Any] = Field(default_factory=dict)
    clocks: ClocksRecord = ClocksRecord()
    emulated: str | None = None


class ModelRecord(_Record):
    """The network every candidate is derived from."""

    factory: str
    num_classes: int
    input_shape: tuple[int, int, int]


class DataRecord(_Record):
    """The data set and how it was split."""

    name: str
    split_sha256: str
    train: int
    validation: int
    test: int
    class_names: tuple[str, ...]
    metric: str = "top-1"


class GroupRecord(_Record):
    """Convolutions whose output channels are kept together."""

    name: str
    channels: int
    layers: tuple[str, ...]


class SuperblockRecord(_Record):
    """Channel groups that share one width modifier, and the modifiers it was offered."""

    name: str
    resolution: tuple[int, int]
    groups: tuple[GroupRecord, ...]
    ratios: tuple[float, ...]

    @classmethod
    def of(cls, superblock: Superblock, ratios: tuple[float, ...]) -> Self:
        """Return a superblock's record."""
        groups = tuple(GroupRecord(name=g.name, channels=g.channels, layers=g.layers) for g in superblock.groups)
        return cls(name=superblock.name, resolution=superblock.resolution, groups=groups, ratios=ratios)

    @property
    def channels(self) -> int:
        """Channels of all its groups in the seed."""
        return sum(group.channels for group in self.groups)


class BinningRecord(_Record):
    """How the superblocks came about; the defaults are what runs had that knew stages alone."""

    method: Literal["stage", "params", "macs", "latency", "names"] = "stage"
    moved: tuple[str, ...] = ()
    unattributed_share: float | None = None


class BudgetRecord(_Record):
    """What the best had to meet; None where no budget was set."""

    latency_ms: float | None = None
    memory_mb: float | None = None
    max_accuracy_drop: float | None = None


class ReferenceRecord(_Record):
    """What every model was paired with, and how the seed compares to it."""

    id: str
    ratios: tuple[float, ...]
    latency_p50_ms: float
    self_ratio: float | None = None
    seed_ratio: float
    seed_ratio_ci95: tuple[float, float]
    seed_measurements: int


class LatencyModelRecord(_Record):
    """How well the latency model predicts structures it has not seen, by leave-one-out."""

    measured: int
    within_10_percent: float
    largest_error: float
    interval_coverage: float | None = None
    reference_weight: float | None = None


class RoundRecord(_Record):
    """What became of one round's proposals."""

    round: int
    proposed: int
    measured: int
    trained: int
    dropped: int
    halved: int = 0
    epochs: int = 0


class StopRecord(_Record):
    """Why the search ended; see ``stages/stopping.py``."""

    reason: Literal["rounds", "max_trainings", "max_hours", "improvement", "nothing_left"]
    text: str


class OrderRecord(_Record):
    """Whether latencies leave the order of the trained open; see ``stages/deciding.py``."""

    repeats: int
    open: int
    text: str


class StructureBytes(_Record):
    """The largest structure on the wire beside the seed's ONNX file."""

    largest: int
    model_bytes: int


class Summary(_Record):
    """A whole run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: str
    created_at: str
    scbp_version: str
    random_seed: int
    command: tuple[str, ...]
    device: DeviceRecord
    model: ModelRecord
    data: DataRecord
    rate_hz: float | None = None
    space_size: int
    space_size_ci95: tuple[int, int] | None = None
    pool_size: int | None = None
    superblocks: tuple[SuperblockRecord, ...]
    binning: BinningRecord = BinningRecord()
    reference: ReferenceRecord | None = None
    seed: CandidateRecord
    best: CandidateRecord | None
    best_reason: str
    candidates: tuple[CandidateRecord, ...]
    budgets: BudgetRecord
    latency_model: LatencyModelRecord | None
    rounds: tuple[RoundRecord, ...]
    stopped: StopRecord | None = None
    order: OrderRecord | None = None
    bytes_shipped: int
    structure_bytes: StructureBytes
    stage_seconds: Mapping[str, float]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """Return the text of ``summary.json``; :meth:`from_json` is its inverse."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse :meth:`to_json`'s text; raises pydantic.ValidationError."""
        return cls.model_validate_json(text)
