"""One model alone on the device: built where its runtime needs that, loaded, run, loaded again."""

from __future__ import annotations

from dataclasses import dataclass

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.alone import Alone, DeviceTimes, Energy, Phase
from scbp_host.domain.outcome import Failure
from scbp_host.errors import CapabilityError
from scbp_host.measuring.settings import MeasureSettings


@dataclass(frozen=True)
class AloneBench:
    """Measures models alone.

    Attributes:
        client: a connected device.
        settings: how long to measure.
        options: runtime, threads and settings of the runtime.
    """

    client: DeviceClient
    settings: MeasureSettings
    options: wire.RuntimeOptions

    def build(self, model: wire.ModelRef) -> wire.BuildResult | Failure:
        """Have the device make ready what its runtime loads, in a worker of its own; a runtime may need nothing."""
        limit = self.settings.memory_limit_bytes
        return self.client.build(wire.BuildPlan(model, self.options, self.settings.build_timeout_s, limit))

    def run(self, model: wire.ModelRef, inputs: wire.TensorRef | None) -> wire.SoloResult | Failure:
        """Load, run and load again, in a worker that holds this model only."""
        settings = self.settings
        return self.client.measure_solo(
            wire.SoloPlan(
                model,
                self.options,
                inputs,
                settings.solo_runs,
                settings.solo_timeout_s,
                loop_ns=round(settings.solo_loop_s * 1e9) if self._is_long() else None,
                warmup_ns=round(settings.warmup_s * 1e9),
                warmup_limit_ns=round(settings.warmup_limit_s * 1e9),
                period_ns=settings.period_ns,
                memory_limit_bytes=settings.memory_limit_bytes,
            )
        )

    def _is_long(self) -> bool:
        return self.settings.period_ns is not None or _tells_power(self.client)


def require_energy(client: DeviceClient) -> None:
    """Raise CapabilityError where the device cannot tell the energy of an inference."""
    if not _tells_power(client):
        name = client.profile.name
        raise CapabilityError(
            f"{name}: no sensor tells the power of the whole board, so energy can have no budget",
            f"leave out the energy budget; what the board tells: scbp-host devices probe {name}",
        )


def _tells_power(client: DeviceClient) -> bool:
    conditions = client.info.facts.get("conditions") or {}
    power = conditions.get("power") or {}
    return power.get("total_w") is not None


def to_alone(built: wire.BuildResult, solo: wire.SoloResult) -> Alone:
    """Return what the device said in the host's terms."""
    return Alone(
        build_ns=built.build_ns,
        build=built.phase and _phase(built.phase),
        cold_load=_phase(solo.cold_load),
        inference=_phase(solo.inference),
        warm_load=_phase(solo.warm_load),
        warmup_ns=tuple(solo.warmup_ns),
        runs_ns=tuple(solo.runs_ns),
        missed_periods=solo.missed_periods,
        energy=solo.energy and Energy(**{**solo.energy._asdict(), "rails": tuple(solo.energy.rails)}),
        device_times=solo.device_times and DeviceTimes(*(tuple(times) for times in solo.device_times)),
        notes=tuple(dict.fromkeys([*built.notes, *solo.notes])),
    )


def _phase(phase: wire.Phase) -> Phase:
    figures = phase._asdict()
    del figures["started_ns"]
    return Phase(**figures)
