"""The latencies of a table: every network of one space, on one device, whole and layer by layer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from contest import TIMING_IMAGES, Judge, structure_of
from slices import Slice

from scbp_host.device.client import open_device
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.outcome import Failure
from scbp_host.domain.precision import Precision
from scbp_host.export.precision import make_variant
from scbp_host.measuring.layers import LayerSettings, charge_layers, measure_layers
from scbp_host.measuring.paired import floor_ratio
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.profiles import load_profile
from scbp_host.space.derive import derive
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.space.survey import survey_seed
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.profiles import time_shares
from scbp_host.stages.space import reference_candidate, seed_candidate

MODEL, CLASSES = "small_resnet:factory", 32
CHANNEL_STEP = 8

# As a run measures.
SETTINGS = MeasureSettings()
LAYER_SETTINGS = LayerSettings(warmup_runs=20, runs=100)


@dataclass(frozen=True)
class Device:
    """What of this machine is measured on; the reference is in the same precision, as in a run."""

    threads: int = 1
    pixels: int = 64
    precision: Precision = Precision.FP32

    @property
    def profile(self) -> DeviceProfile:
        """This machine with so many threads."""
        return replace(load_profile("local"), threads=self.threads)

    def images(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return what is timed with."""
        shape = (TIMING_IMAGES, 3, self.pixels, self.pixels)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def identity(self) -> dict[str, Any]:
        """Return what a table may not change halfway."""
        return {**asdict(self), "measuring": asdict(SETTINGS)}


DEVICES = {
    "cpu1-fp32-64": Device(),
    "cpu2-fp32-64": Device(threads=2),
    "cpu1-fp32-128": Device(pixels=128),
    "cpu1-int8-64": Device(precision=Precision.INT8),
}


def space_of(ratios: tuple[float, ...], pixels: int) -> SearchSpace:
    """Return the space at one input size."""
    spec = seed_spec(MODEL, CLASSES, (3, pixels, pixels))
    return SearchSpace.uniform(spec, bin_by_stage(spec), ratios, CHANNEL_STEP)


def everyone(space: SearchSpace) -> list[Candidate]:
    """Return every network of the space, the seed first."""
    return [seed_candidate(space), *space.derived()]


def name_of(candidate: Candidate) -> str:
    """Return what a network is called in the ledger."""
    return "/".join(f"{own:g}" for own in candidate.ratios)


class Structures:
    """Every network's structure as its device wants it, each written once and kept in a folder.

    Args:
        device: that will run them.
        workdir: where the folder is.
    """

    def __init__(self, device: Device, workdir: Path) -> None:
        self._device = device
        self._folder = workdir / "structures" / f"{device.precision}-{device.pixels}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def prepare(self, candidates: Iterable[Candidate]) -> None:
        """Write all of them: with that done before, measuring does nothing else."""
        for own in candidates:
            self.onnx(own)

    def onnx(self, candidate: Candidate) -> bytes:
        """Return one structure's file, written now where it is missing."""
        path = self._folder / f"{name_of(candidate).replace('/', '-')}.onnx"
        if not path.exists():
            begun = path.with_suffix(".begun")
            begun.write_bytes(self._written(candidate))
            begun.replace(path)
        return path.read_bytes()

    def _written(self, candidate: Candidate) -> bytes:
        device = self._device
        onnx = structure_of(derive(candidate), candidate.seed.input_shape, device.profile)
        version = onnxruntime.__version__
        return make_variant(onnx, device.precision, device.profile.runtime, version, device.images()[:1]).onnx


class Latencies:
    """Measures every network of the space on one device.

    Args:
        ledger: keeps what is measured.
        space: every network of it.
        device: what is measured on.
        passes: how often.
        workdir: for the structures and the agent.
        own_slice: says whether there is time.
    """

    def __init__(
        self, ledger: Ledger, space: SearchSpace, device: Device, passes: int, workdir: Path, own_slice: Slice
    ) -> None:
        self._ledger, self._candidates, self._passes = ledger, everyone(space), passes
        self._structures = Structures(device, workdir)
        reference = partial(self._structures.onnx, reference_candidate(space))
        self._judge = Judge(ledger, own_slice, reference, device.images(), workdir / "agent", device.profile, SETTINGS)

    def go_on(self) -> None:
        """Measure what is missing, pass by pass; raises SliceOver."""
        with self._judge:
            for number in range(self._passes):
                for row in np.random.default_rng(number).permutation(len(self._candidates)).tolist():
                    own = self._candidates[row]
                    self._judge.measured(name_of(own), partial(self._structures.onnx, own), number)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what is known by now, by name."""
        known = self._ledger.payloads("measure")
        names = [name_of(own) for own in self._candidates]
        return {name: row for name in names if (row := _measured(known, name))}


def _measured(known: Mapping[str, Payload], name: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for number in itertools.count():
        payload = known.get(f"{name}/{number}")
        if payload is None:
            break
        blocks = (payload[f"{key}_blocks_ns"] for key in ("candidate", "reference"))
        figures = dict(zip(("latency_ratio", "low", "high"), rounded(payload["ratio"]), strict=True))
        figures["floor_ratio"] = round(floor_ratio(*blocks), 5)
        if number == 0:
            row |= {**figures, "peak_rss_bytes": payload["peak_rss_bytes"]}
        else:
            for key, value in figures.items():
                row.setdefault(f"{key}_again", []).append(value)
    return row


class Profiles:
    """Times every layer of every network measured on one device, under its runtime's profiler.

    Args:
        ledger: keeps what is measured.
        space: every network of it.
        device: what is measured on.
        workdir: for the structures and the agent.
        own_slice: says whether there is time.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, device: Device, workdir: Path, own_slice: Slice) -> None:
        self._ledger, self._space, self._device, self._slice = ledger, space, device, own_slice
        self._workdir = workdir
        self._structures = Structures(device, workdir)

    def go_on(self) -> None:
        """Profile what is missing; raises SliceOver."""
        inputs, device = self._device.images(), self._device
        with open_device(device.profile, self._workdir / "agent") as client:

            def nodes_of(candidate: Candidate) -> Payload | Failure:
                self._slice.begin("measure")
                onnx = self._structures.onnx(candidate)
                nodes = measure_layers(client, onnx, inputs, pack=True, settings=LAYER_SETTINGS)
                if isinstance(nodes, Failure):
                    return nodes
                return asdict(charge_layers(nodes, onnx, self._layers))

            measured = self._ledger.payloads("measure")
            for candidate in everyone(self._space):
                if f"{name_of(candidate)}/0" in measured:
                    self._ledger.must("layers", name_of(candidate), partial(nodes_of, candidate))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what is known by now, by name: each superblock's share of the time, and the head's."""
        known = self._ledger.payloads("layers")
        return {name: {"time_shares": self._shares(payload["latency_ns"])} for name, payload in known.items()}

    @cached_property
    def _survey(self) -> Any:
        return survey_seed(self._space.seed)

    @cached_property
    def _layers(self) -> list[str]:
        return [layer.name for layer in self._survey.layers]

    def _shares(self, latency_ns: Mapping[str, int]) -> list[float]:
        blocks = self._space.superblocks
        places = {group.name: own for own, block in enumerate(blocks) for group in block.groups}
        return rounded(time_shares(latency_ns, self._survey.owners, places, len(blocks) + 1))


def rounded(values: Iterable[float]) -> list[float]:
    """Return what a table holds of figures."""
    return [round(own, 5) for own in values]
