"""Typed calls to one device. Measurements that fail are values; a device that is lost is an exception."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import lzma
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from scbp_agent import wire
from scbp_host.device.install import InstalledAgent, ensure_installed, upload_deadline
from scbp_host.device.package import build_agent
from scbp_host.device.reservation import Reservation
from scbp_host.domain.device import DeviceInfo, DeviceProfile
from scbp_host.domain.outcome import Failure
from scbp_host.errors import CapabilityError, ConfigError, DeviceTimeout, DeviceUnreachable, ProtocolError
from scbp_host.profiles import likeness
from scbp_host.transport.base import open_transport, probe_hint

T = TypeVar("T")
Plan = wire.BuildPlan | wire.PairedPlan | wire.SoloPlan | wire.LayersPlan | wire.InferPlan

_LOG = logging.getLogger(__name__)

# A lost connection is made again this often for one call, after these pauses: a Wi-Fi that drops out, a board that
# restarts its network. Every request may be repeated, since blobs are named by their hash.
RECONNECT_PAUSES_S = (0.5, 3.0)
# What the agent may take beside the plan's own deadline: unpacking models, starting and ending the worker.
_MARGIN_S = 60.0
_ANSWER_S = 30.0


def open_device(profile: DeviceProfile, workdir: Path | str | None = None) -> DeviceClient:
    """Return a client of the device; it connects when it is entered.

    Args:
        profile: the device.
        workdir: the agent's folder on the device, in the place of the profile's.

    Raises:
        UsageError: the profile lacks what its transport needs.
    """
    return DeviceClient(profile if workdir is None else replace(profile, workdir=str(workdir)))


class DeviceClient:
    """One device and its agent; a context manager.

    Args:
        profile: the device.
        reconnect_pauses_s: seconds before each new connection of a call whose connection was lost.

    Attributes:
        profile: the device's profile.
        bytes_shipped: what was sent to the device so far: models, inputs and the agent itself, as packed.
    """

    def __init__(self, profile: DeviceProfile, reconnect_pauses_s: Sequence[float] = RECONNECT_PAUSES_S) -> None:
        self.profile = profile
        self.bytes_shipped = 0
        self._pauses_s = tuple(reconnect_pauses_s)
        self._package = build_agent()
        self._to_close = contextlib.ExitStack()
        self._agent: InstalledAgent | None = None
        self._info: DeviceInfo | None = None
        self._wire_bytes: dict[str, int] = {}
        self._reservation: Reservation | None = None

    def __enter__(self) -> Self:
        """Connect; raises a DeviceError at once, for a user who waits at a terminal."""
        self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation is not None and self._agent is not None:
            for problem in self._reservation.put_clocks_back(self._agent.connection):
                _LOG.warning("%s", problem)
        self._disconnect()

    @property
    def info(self) -> DeviceInfo:
        """What the device said of itself when it was last connected."""
        assert self._info is not None, "the client has not been entered"
        return self._info

    @property
    def options(self) -> wire.RuntimeOptions:
        """How the profile has models run."""
        profile = self.profile
        return wire.RuntimeOptions(profile.runtime, profile.threads, dict(profile.runtime_settings))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not fit between profile and device, and what the device told us; one line each."""
        told = [*map(str, self.info.facts.get("warnings", ()))]
        if self._reservation is not None:
            told += self._reservation.told
        return (*self._emulation(), *self._mismatch(), *told, *(self.clocks.warnings if self.clocks else ()))

    @property
    def clocks(self) -> wire.ClocksResult | None:
        """What came of :meth:`lock_clocks`; None where it was not called."""
        return self._reservation.clocks if self._reservation else None

    def _emulation(self) -> tuple[str, ...]:
        if self.info.emulated is None:
            return ()
        return (f"{self.profile.name} is emulated ({self.info.emulated}): every time is the emulator's, no board's",)

    def _mismatch(self) -> tuple[str, ...]:
        expected = (self.profile.device_tree_model, *self.profile.compatible)
        if not any(expected) or likeness(self.profile, self.info.board, self.info.compatible):
            return ()
        return (
            f"the profile {self.profile.name} is for {next(filter(None, expected))!r}, the device is"
            f" {self.info.board!r}: check --device",
        )

    def require_runtime(self, name: str) -> None:
        """Check that the device has a runtime, and that this has the profile's settings.

        Raises:
            CapabilityError: it has not; with the agent's hint on how to get it.
            ConfigError: the profile has a setting that this runtime does not have.
        """
        if name in self.info.runtimes:
            self._require_settings(name)
            return
        present = ", ".join(f"{found} {version}" for found, version in sorted(self.info.runtimes.items())) or "none"
        hint = self.info.facts.get("missing", {}).get(name) or probe_hint(self.profile.name)
        raise CapabilityError(f"{self.profile.name}: no runtime {name!r}; the device has: {present}", str(hint))

    def reserve(
        self, purpose: str, wait_s: float = 0.0, on_wait: Callable[[str], None] = _LOG.warning
    ) -> wire.LockHolder:
        """Have the board to ourselves until the client is left; a new connection takes it again.

        Args:
            purpose: what others read while they wait.
            wait_s: how long to wait while another has it.
            on_wait: told who has it, once, where there is waiting to do.

        Returns:
            What others see of it.

        Raises:
            BoardBusy: another session has it, and kept it for ``wait_s``.
            DeviceError: the device was lost for good.
        """
        self._reservation = Reservation(self.profile.name, purpose, wait_s, on_wait)
        return self.keep()

    def keep(self) -> wire.LockHolder:
        """Return what others see of our reservation, made again where the connection was lost; raises as `reserve`."""
        reservation = self._reservation
        assert reservation is not None, "nothing is reserved"
        return self._persistently(lambda agent: reservation.take(agent.connection))

    def lock_clocks(self) -> wire.ClocksResult:
        """Hold the clocks of a board that is reserved, as its profile says, until the client is left.

        A new connection does it again. What the board refuses is no error, but stands in ``warnings``: it measures
        with moving clocks then.

        Raises:
            DeviceError: the device was lost for good, or another session has it.
        """
        wanted, reservation = self.profile.clocks, self._reservation
        assert reservation is not None, "nothing is reserved"
        plan = wire.ClocksPlan(wanted.power_mode, wanted.jetson_clocks, wanted.governor)
        return self._persistently(lambda agent: reservation.hold_clocks(agent.connection, plan))

    def _require_settings(self, runtime: str) -> None:
        known = self.info.facts.get("runtime_settings", {}).get(runtime, {})
        for name in self.profile.runtime_settings:
            if name not in known:
                there_are = ", ".join(sorted(known)) or "none"
                raise ConfigError(
                    f"{self.profile.source}: key 'runtime_settings.{name}': unknown; {runtime} on {self.profile.name}"
                    f" has: {there_are}"
                )

    def wire_bytes(self, sha256: str) -> int | None:
        """Return how many bytes this content is on the wire, sent or found there; None where it was never shipped."""
        return self._wire_bytes.get(sha256)

    def ship(self, content: bytes, *, pack: bool) -> str | Failure:
        """Bring content onto the device, unless it is there.

        Args:
            content: a model or an array.
            pack: whether to compress it for the way; pays for filler weights, hardly for trained ones.

        Returns:
            The content's SHA-256, by which plans refer to it, or why the device did not take it.

        Raises:
            DeviceError: the device was lost for good.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        return self._persistently(lambda agent: self._ship(agent, sha256, content, pack))

    def build(self, plan: wire.BuildPlan) -> wire.BuildResult | Failure:
        """Make ready what the runtime loads, in a worker of its own; raises DeviceError when the device was lost."""
        return self._run(wire.MEASURE_BUILD, plan, wire.build_result)

    def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
        """Time candidate and reference side by side; raises DeviceError when the device was lost for good."""
        return self._run(wire.MEASURE_PAIRED, plan, wire.paired_result)

    def measure_solo(self, plan: wire.SoloPlan) -> wire.SoloResult | Failure:
        """Load and run one model in a fresh worker; raises DeviceError when the device was lost for good."""
        return self._run(wire.MEASURE_SOLO, plan, wire.solo_result)

    def measure_layers(self, plan: wire.LayersPlan) -> wire.LayersResult | Failure:
        """Time every node of a model under the runtime's profiler; raises DeviceError when the device was lost."""
        return self._run(wire.MEASURE_LAYERS, plan, wire.layers_result)

    def infer(self, plan: wire.InferPlan) -> wire.InferResult | Failure:
        """Run a model over inputs; raises DeviceError when the device was lost for good."""
        return self._run(wire.INFER, plan, wire.infer_result)

    def _run(self, method: str, plan: Plan, read: Callable[[dict[str, Any]], T]) -> T | Failure:
        if self._reservation is None:
            self.reserve(method)
        deadline_s = plan.deadline_s * self.profile.timeout_scale
        params, timeout_s = wire.to_wire(plan) | {"deadline_s": deadline_s}, deadline_s + _MARGIN_S
        result = self._persistently(lambda agent: agent.connection.request(method, params, timeout_s))
        return result if isinstance(result, Failure) else self._read(method, read, result)

    def _read(self, method: str, read: Callable[[dict[str, Any]], T], result: dict[str, Any]) -> T:
        try:
            return read(result)
        except wire.WireError as error:
            message = f"{self.profile.name}: the agent's result of {method} is not the protocol's: {error}"
            raise ProtocolError(message, probe_hint(self.profile.name)) from error

    def _ship(self, agent: InstalledAgent, sha256: str, content: bytes, pack: bool) -> str | Failure:
        packed, encoding = _packed(content, pack and wire.XZ in agent.info.facts.get("encodings", ()))
        self._wire_bytes[sha256] = len(packed)
        have = agent.connection.request(wire.HAVE, {"sha256": [sha256]}, _ANSWER_S)
        if isinstance(have, Failure):
            return have
        if not self._read(wire.HAVE, lambda result: wire.field(result, "missing", list), have):
            return sha256
        # A name of its own for every upload: what another session sends meanwhile is not in the way.
        upload = f"{sha256[:16]}-{secrets.token_hex(4)}.{encoding}"
        deadline = upload_deadline(len(packed))
        agent.transport.put(packed, f"{self.profile.workdir}/incoming/{upload}", deadline)
        self.bytes_shipped += len(packed)
        params = {"upload": upload, "sha256": sha256, "encoding": encoding, "size": len(content)}
        # The agent unpacks, hashes and syncs, at the pace of an SD card.
        admitted = agent.connection.request(wire.ADMIT, params, deadline.limit_s)
        return admitted if isinstance(admitted, Failure) else sha256

    def _persistently(self, call: Callable[[InstalledAgent], T]) -> T:
        """Make a call, on a new connection where the old one is lost, as often as RECONNECT_PAUSES_S is long."""
        pauses_s = iter(self._pauses_s)
        while True:
            try:
                return call(self._connected())
            except (DeviceUnreachable, DeviceTimeout) as error:
                self._disconnect()  # also after a timeout: a late reply must not meet the next request
                pause_s = next(pauses_s, None)
                if pause_s is None:
                    raise
                _LOG.warning("%s; connecting again in %g s", error, pause_s)
                time.sleep(pause_s)

    def _connected(self) -> InstalledAgent:
        if self._agent is None:
            with contextlib.ExitStack() as stack:
                transport = stack.enter_context(open_transport(self.profile))
                agent = ensure_installed(transport, self.profile, self._package)
                stack.callback(agent.connection.close)
                self.bytes_shipped += agent.bytes_uploaded
                if self._reservation is not None:
                    self._reservation.renew(agent.connection)
                self._to_close = stack.pop_all()
            self._agent, self._info = agent, agent.info
        return self._agent

    def _disconnect(self) -> None:
        self._agent = None
        self._to_close.close()


def _packed(content: bytes, pack: bool) -> tuple[bytes, str]:
    return (lzma.compress(content, preset=0), wire.XZ) if pack else (content, wire.RAW)
