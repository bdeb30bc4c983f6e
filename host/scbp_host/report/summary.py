"""The schema of ``summary.json``: of a whole run; ``docs/summary.md`` documents every key with its unit.

Accuracies are fractions, MB are 10^6 bytes, unmeasured is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from scbp_host.domain.candidate import Superblock
from scbp_host.report.candidate import CandidateRecord, Record

SCHEMA_VERSION: Literal[1] = 1


class ClocksRecord(Record):
    """What the board's clocks did when the run began; the defaults are what runs had that did not look."""

    asked: bool = False
    policy: str | None = None
    power_mode: str | None = None


class DeviceRecord(Record):
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


class ModelRecord(Record):
    """The network every candidate is derived from."""

    factory: str
    num_classes: int
    input_shape: tuple[int, int, int]


class DataRecord(Record):
    """The data set and how it was split."""

    name: str
    split_sha256: str
    train: int
    validation: int
    test: int
    class_names: tuple[str, ...]
    metric: str = "top-1"


class GroupRecord(Record):
    """Convolutions whose output channels are kept together."""

    name: str
    channels: int
    layers: tuple[str, ...]


class SuperblockRecord(Record):
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


class BinningRecord(Record):
    """How the superblocks came about; the defaults are what runs had that knew stages alone."""

    method: Literal["stage", "params", "macs", "latency", "names"] = "stage"
    moved: tuple[str, ...] = ()
    unattributed_share: float | None = None


class BudgetRecord(Record):
    """What the best had to meet; None where no budget was set."""

    latency_ms: float | None = None
    memory_mb: float | None = None
    energy_mj: float | None = None
    max_accuracy_drop: float | None = None


class ReferenceRecord(Record):
    """What every model was paired with, and how the seed compares to it."""

    id: str
    ratios: tuple[float, ...]
    latency_p50_ms: float
    self_ratio: float | None = None
    seed_ratio: float
    seed_ratio_ci95: tuple[float, float]
    seed_measurements: int


class LatencyModelRecord(Record):
    """How well the latency model predicts structures it has not seen, by leave-one-out."""

    measured: int
    within_10_percent: float
    largest_error: float
    interval_coverage: float | None = None
    reference_weight: float | None = None


class RoundRecord(Record):
    """What became of one round's proposals."""

    round: int
    proposed: int
    measured: int
    trained: int
    dropped: int
    halved: int = 0
    epochs: int = 0


class StopRecord(Record):
    """Why the search ended; see ``stages/stopping.py``."""

    reason: Literal["rounds", "max_trainings", "max_hours", "improvement", "nothing_left"]
    text: str


class OrderRecord(Record):
    """Whether latencies leave the order of the trained open; see ``stages/deciding.py``."""

    repeats: int
    open: int
    text: str


class StructureBytes(Record):
    """The largest structure on the wire beside the seed's ONNX file."""

    largest: int
    model_bytes: int


class Summary(Record):
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
