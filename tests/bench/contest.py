"""One data set's contest: its space, its budgets, and the device that judges."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from slices import Slice

from scbp_host.device.client import open_device
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.domain.resources import resources_of
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.paired import floor_ratio
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.profiles import load_profile
from scbp_host.search.base import Observation
from scbp_host.space.cost import cost
from scbp_host.space.derive import derive
from scbp_host.space.seeds import Module, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.space import make_pool, make_space
from scbp_host.tasks.datasets import load_task

# Whoever competes is measured in so many sessions: one session's ratio does not repeat to better than several percent.
SESSIONS = 3
TIMING_IMAGES = 16


@dataclass(frozen=True)
class Sizes:
    """What one data set's contest takes."""

    model: str = "resnet18"
    input_shape: tuple[int, int, int] = (3, 32, 32)
    random_seeds: tuple[int, ...] = (0, 1, 2)
    multipliers: tuple[float, ...] = (0.5, 0.375, 0.25)
    ratios: tuple[float, ...] = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)
    spread: int = 16
    trainings: int = 3
    seed_epochs: int = 10
    epochs: int = 3


class Judge:
    """Measures untrained structures beside one of them, each session's outcome once; a context manager.

    Args:
        ledger: keeps the outcomes.
        own_slice: says whether there is time to measure.
        reference: writes the structure that everything is measured beside.
        images: to time with.
        workdir: the agent's folder.
        profile: of the device; None takes this machine's.
        settings: how long to measure; None measures as a run does.
    """

    def __init__(
        self,
        ledger: Ledger,
        own_slice: Slice,
        reference: Callable[[], bytes],
        images: NDArray[np.float32],
        workdir: Path,
        profile: DeviceProfile | None = None,
        settings: MeasureSettings | None = None,
    ) -> None:
        self._settings = settings or MeasureSettings()
        self._ledger, self._slice, self._reference, self._images = ledger, own_slice, reference, images
        self._workdir = workdir
        self._profile = profile or load_profile("local")
        self._to_close = ExitStack()
        self._session: MeasuringSession | None = None
        self._last: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._to_close.close()

    def measured(self, name: str, write: Callable[[], bytes], session: int = 0) -> Measurement:
        """Return one session's measurement of the structure that ``write`` returns."""

        def compute() -> Payload | Failure:
            self._slice.begin("measure")
            own, onnx = self._connected(), self._structure_of(name, write)
            # Memory and load time are measured once.
            outcome = (
                own.pair_again(onnx, self.measured(name, write), pack=True) if session else own.measure(onnx, pack=True)
            )
            return outcome if isinstance(outcome, Failure) else outcome.to_json()

        return Measurement.from_json(self._ledger.must("measure", f"{name}/{session}", compute))

    def ratio(self, name: str, write: Callable[[], bytes]) -> float:
        """Return the latency ratio to the reference: the geometric mean over several sessions."""
        return statistics.geometric_mean(self.measured(name, write, own).ratio.value for own in range(SESSIONS))

    def _connected(self) -> MeasuringSession:
        if self._session is None:
            profile = self._profile
            client = self._to_close.enter_context(open_device(profile, self._workdir))
            self._session = MeasuringSession(
                client,
                self._settings,
                client.options,
                self._reference(),
                self._images,
                pack_reference=True,
            )
        return self._session

    def _structure_of(self, name: str, write: Callable[[], bytes]) -> bytes:
        if name not in self._last:  # sessions of one structure follow each other
            self._last = {name: write()}
        return self._last[name]


def structure_of(module: Module, input_shape: tuple[int, int, int], profile: DeviceProfile | None = None) -> bytes:
    """Write a module's structure as a device wants it; None takes this machine."""
    own = profile or load_profile("local")
    return structure_onnx(module, input_shape, opset=own.opset, ir_version=own.ir_version)


class Contest:
    """One data set: the space, the budgets, and what every random seed shares.

    Args:
        data: as ``--data`` names it.
        sizes: how much of everything.
        ledger: keeps what is done.
        folder: for files.
        own_slice: what may be begun.
    """

    def __init__(self, data: str, sizes: Sizes, ledger: Ledger, folder: Path, own_slice: Slice) -> None:
        self.data, self.sizes, self.ledger, self.folder, self.slice = data, sizes, ledger, folder, own_slice
        self.task = load_task(data, sizes.input_shape)
        self.spec = seed_spec(sizes.model, len(self.task.class_names), sizes.input_shape)
        self.channel_step = load_profile("local").channel_step
        self.space = make_space(self.spec, bin_by_stage(self.spec), sizes.ratios, self.channel_step)
        self.pool = make_pool(self.space, 0)
        self._sizes_bytes: dict[str, int] = {}
        images = self.task.validation.images[:TIMING_IMAGES]
        # Not the seed: its weights fill a cache that virtual machines share, and every ratio to it moves with that.
        self.reference = self.uniform(max(sizes.multipliers))
        self.judge = Judge(ledger, own_slice, partial(self._write, self.reference), images, folder / "agent")

    def uniform(self, multiplier: float) -> Candidate:
        """Return the classic width multiplier's network."""
        return self.space.candidate((multiplier,) * len(self.space.superblocks))

    def latency_ratio(self, candidate: Candidate) -> float:
        """Return a candidate's judged latency ratio to the reference."""
        return self.judge.ratio(candidate.structure_id, partial(self._write, candidate))

    def budgets(self) -> list[tuple[float, float]]:
        """Return each multiplier with its own latency ratio to the reference."""
        return [(own, self.latency_ratio(self.uniform(own))) for own in self.sizes.multipliers]

    def observation(self, candidate: Candidate, *, taken: bool = False, failed: bool = False) -> Observation:
        """Return what the search learns from one session; what is taken or failed is not proposed again."""
        own = self.judge.measured(candidate.structure_id, partial(self._write, candidate))
        return Observation(
            candidate,
            own.ratio,
            resources_of(own),
            self._size_bytes(candidate),
            None,
            failed,
            floor_ratio(own.candidate_blocks_ns, own.reference_blocks_ns),
            halved=taken,
        )

    def _write(self, candidate: Candidate) -> bytes:
        return structure_of(derive(candidate), self.sizes.input_shape)

    def _size_bytes(self, candidate: Candidate) -> int:
        if candidate.structure_id not in self._sizes_bytes:
            params = cost(derive(candidate), self.spec.input_shape).params
            self._sizes_bytes[candidate.structure_id] = 4 * params  # float32
        return self._sizes_bytes[candidate.structure_id]
