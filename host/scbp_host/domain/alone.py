"""What a worker that held one model only showed: each phase's time and memory, and the energy of an inference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Self


@dataclass(frozen=True)
class Phase:
    """One phase. Its figures of memory overlap and are never summed; None is what the board cannot tell.

    Attributes:
        duration_ns: how long it took.
        peak_rss_bytes: the worker's VmHWM.
        peak_is_own: whether that is of this phase alone; else it is the highest since the worker's start.
        pss_bytes: the worker's proportional share at the phase's end.
        gpu_bytes: what the GPU held for it then.
        gpu_source: who counted that: ``nvmap``, ``nvidia-smi``, or the runtime.
        system_bytes: how much less memory the whole board had at the worst moment than before the worker began.
    """

    duration_ns: int
    peak_rss_bytes: int
    peak_is_own: bool
    pss_bytes: int | None
    gpu_bytes: int | None
    gpu_source: str | None
    system_bytes: int | None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild from :meth:`Alone.to_json`'s form."""
        return cls(**data)


@dataclass(frozen=True)
class Energy:
    """Energy of one inference: mean power over the timed loop x its time / its inferences, with nothing taken off.

    Attributes:
        joules: at a camera's rate, what the board takes while it waits for the next frame is part of it.
        mean_w: mean of the samples.
        sampler: what was read, e.g. ``INA3221, hwmon``.
        rails: whose sum a sample is; together the whole board.
        samples: how many there were.
    """

    joules: float
    mean_w: float
    sampler: str
    rails: tuple[str, ...]
    samples: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild from :meth:`Alone.to_json`'s form."""
        return cls(**{**data, "rails": tuple(data["rails"])})


@dataclass(frozen=True)
class DeviceTimes:
    """Each run of the timed loop by the GPU's own clock, in ns; ``enqueue_ns`` by the host's."""

    h2d_ns: tuple[int, ...]
    compute_ns: tuple[int, ...]
    d2h_ns: tuple[int, ...]
    enqueue_ns: tuple[int, ...]

    @property
    def medians_ms(self) -> dict[str, float]:
        """The median of each, in ms, by name without its unit; a part without a sample is left out."""
        return {name.removesuffix("_ns"): median(times) / 1e6 for name, times in asdict(self).items() if times}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild from :meth:`Alone.to_json`'s form."""
        return cls(**{name: tuple(values) for name, values in data.items()})


@dataclass(frozen=True)
class Alone:
    """One model, alone in fresh workers.

    Attributes:
        build_ns: what building for the runtime took, now or when it was built; None for a runtime without that step.
        build: that phase; None where nothing had to be built now.
        cold_load: the first load in a process.
        inference: warm-up and timed loop.
        warm_load: the second load in the same process, after the first was let go.
        warmup_ns: the warm-up's samples, the cold run first.
        runs_ns: the timed loop's samples.
        missed_periods: frames that came and went during a run; None for a tight loop.
        energy: of one inference; None where the board cannot tell.
        device_times: None where the runtime's device has no clock of its own.
        notes: what the runtime said.
    """

    build_ns: int | None
    build: Phase | None
    cold_load: Phase
    inference: Phase
    warm_load: Phase
    warmup_ns: tuple[int, ...]
    runs_ns: tuple[int, ...]
    missed_periods: int | None
    energy: Energy | None
    device_times: DeviceTimes | None
    notes: tuple[str, ...]

    @property
    def phases(self) -> dict[str, Phase]:
        """The phases that took place, by name, in their order."""
        found = {"build": self.build, "load": self.cold_load, "inference": self.inference, "warm load": self.warm_load}
        return {name: phase for name, phase in found.items() if phase is not None}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild from :meth:`to_json`'s form."""
        build, energy, times = data["build"], data["energy"], data["device_times"]
        return cls(
            build_ns=data["build_ns"],
            build=build and Phase.from_json(build),
            cold_load=Phase.from_json(data["cold_load"]),
            inference=Phase.from_json(data["inference"]),
            warm_load=Phase.from_json(data["warm_load"]),
            warmup_ns=tuple(data["warmup_ns"]),
            runs_ns=tuple(data["runs_ns"]),
            missed_periods=data["missed_periods"],
            energy=energy and Energy.from_json(energy),
            device_times=times and DeviceTimes.from_json(times),
            notes=tuple(data["notes"]),
        )
