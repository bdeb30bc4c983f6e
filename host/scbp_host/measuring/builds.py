"""How much a model's latency differs from one build of its engine to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scbp_host.device.client import DeviceClient
from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.errors import UsageError
from scbp_host.measuring.agreement import ratio_over_builds
from scbp_host.measuring.session import NOTHING, MeasuringSession, Settings

# The setting by which a runtime of the agent builds anew, timing for itself what it chooses among.
BUILD = "build"
# Of each finalist, where builds vary: a build takes minutes on a small board, and fewer show no spread.
DEFAULT_BUILDS = 3


@dataclass(frozen=True)
class Builds:
    """Measurements of one model, each of an engine of its own; the first is the one that everything else uses."""

    measurements: tuple[Measurement, ...]

    @property
    def spread(self) -> float:
        """By which part the slowest build is slower than the fastest."""
        ratios = [own.ratio.value for own in self.measurements]
        return max(ratios) / min(ratios) - 1.0

    @property
    def whole(self) -> Measurement:
        """The first build's measurement, its ratio that of all builds: what any build of the model may be like."""
        first, ratios = self.measurements[0], tuple(own.ratio for own in self.measurements)
        return first if len(ratios) == 1 else replace(first, ratio=ratio_over_builds(ratios), builds=ratios)


def with_builds(again: Measurement, builds: Sequence[Interval]) -> Measurement:
    """Return a new measurement of the first build, with what the other builds, not measured anew, differ by."""
    if not builds:
        return again
    ratios = (again.ratio, *builds[1:])
    return replace(again, ratio=ratio_over_builds(ratios), builds=ratios)


def has_builds(client: DeviceClient) -> bool:
    """Tell whether the device's runtime builds what it runs, so that one build differs from the next."""
    runtime = client.profile.runtime
    return BUILD in client.info.facts.get("runtime_settings", {}).get(runtime, {})


def builds_wanted(client: DeviceClient, asked: int | None) -> int:
    """Return how many builds of a finalist to measure; DEFAULT_BUILDS where nothing was asked and builds vary."""
    if asked is not None:
        return asked
    return DEFAULT_BUILDS if has_builds(client) else 1


def require_builds(client: DeviceClient) -> None:
    """Raise UsageError where the device's runtime builds nothing."""
    if not has_builds(client):
        raise UsageError(
            f"{client.profile.name}: {client.profile.runtime} loads a model as it is, so no build of it varies",
            "leave out --builds",
        )


def measure_builds(
    session: MeasuringSession, onnx: bytes, first: Measurement, count: int, told: Settings = NOTHING
) -> Builds | Failure:
    """Build and measure a model until there are ``count`` builds of it.

    Args:
        session: what the model is paired in.
        onnx: the model, self-contained.
        first: its measurement in this session.
        count: of builds, the first one included.
        told: the runtime's settings for this model, where they differ from the reference's.

    Raises:
        DeviceError: the device was lost for good.
    """
    measured = [first]
    for number in range(1, count):
        outcome = session.measure(onnx, pack=False, told={**told, BUILD: number})
        if isinstance(outcome, Failure):
            return outcome
        measured.append(outcome)
    return Builds(tuple(measured))
