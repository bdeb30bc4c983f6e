"""How much a model's latency differs from one build of its engine to the next."""

from __future__ import annotations

from dataclasses import dataclass

from scbp_host.device.client import DeviceClient
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.errors import UsageError
from scbp_host.measuring.session import MeasuringSession

# The setting by which a runtime of the agent builds anew, timing for itself what it chooses among.
BUILD = "build"


@dataclass(frozen=True)
class Builds:
    """Measurements of one model, each of an engine of its own; the first is the one that everything else uses."""

    measurements: tuple[Measurement, ...]

    @property
    def spread(self) -> float:
        """By which part the slowest build is slower than the fastest."""
        ratios = [own.ratio.value for own in self.measurements]
        return max(ratios) / min(ratios) - 1.0


def require_builds(client: DeviceClient) -> None:
    """Raise UsageError where the device's runtime builds nothing."""
    runtime = client.profile.runtime
    if BUILD not in client.info.facts.get("runtime_settings", {}).get(runtime, {}):
        raise UsageError(
            f"{client.profile.name}: {runtime} loads a model as it is, so no build of it varies",
            "leave out --builds",
        )


def measure_builds(session: MeasuringSession, onnx: bytes, first: Measurement, count: int) -> Builds | Failure:
    """Build and measure a model until there are ``count`` builds of it.

    Args:
        session: what the model is paired in.
        onnx: the model, self-contained.
        first: its measurement in this session.
        count: of builds, the first one included.

    Raises:
        DeviceError: the device was lost for good.
    """
    measured = [first]
    for number in range(1, count):
        outcome = session.measure(onnx, pack=False, told={BUILD: number})
        if isinstance(outcome, Failure):
            return outcome
        measured.append(outcome)
    return Builds(tuple(measured))
