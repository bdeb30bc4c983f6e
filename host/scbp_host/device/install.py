"""Getting the agent onto the device and running; where it is there already, nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass

from scbp_host.device.connection import AgentConnection
from scbp_host.device.package import AgentPackage
from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceInfo, DeviceProfile
from scbp_host.errors import DeviceUnreachable, ProtocolError
from scbp_host.transport.base import Transport, probe_hint

_START_S = 30.0


@dataclass(frozen=True)
class InstalledAgent:
    """A running agent that has said hello, and the way to it; ``bytes_uploaded`` is 0 where it was there before."""

    transport: Transport
    connection: AgentConnection
    info: DeviceInfo
    bytes_uploaded: int


def ensure_installed(transport: Transport, profile: DeviceProfile, package: AgentPackage) -> InstalledAgent:
    """Start the agent, and upload it first where it is not there or not the right one.

    It is started at once: its hello tells its hash, so an agent that is there costs no further question. A file that
    is missing, damaged or exchanged is uploaded once.

    Raises:
        ProtocolError: what runs after the upload is still not our agent.
        DeviceError: the device cannot be reached, or cannot run it; carries the last line of its stderr.
    """
    try:
        return _start(transport, profile, package, 0)
    except (DeviceUnreachable, ProtocolError):
        path = f"{profile.workdir}/agents/{package.name}"
        transport.put(package.content, path, upload_deadline(len(package.content)))
        return _start(transport, profile, package, len(package.content))


def upload_deadline(size_bytes: int) -> Deadline:
    """Return the deadline of an upload: a minute, and what a bad Wi-Fi of 100 kB/s takes."""
    return Deadline.after(60.0 + size_bytes / 100_000)


def _start(transport: Transport, profile: DeviceProfile, package: AgentPackage, uploaded: int) -> InstalledAgent:
    argv = [profile.python, f"{profile.workdir}/agents/{package.name}", "serve", "--workdir", profile.workdir]
    connection = AgentConnection(profile.name, transport.open_channel(argv, Deadline.after(_START_S)))
    try:
        info = connection.hello()
        _check_hash(profile, info, package)
    except BaseException:
        connection.close()
        raise
    return InstalledAgent(transport, connection, info, uploaded)


def _check_hash(profile: DeviceProfile, info: DeviceInfo, package: AgentPackage) -> None:
    if info.agent_sha256 != package.sha256:
        message = (
            f"{profile.name}: expected agent {package.sha256[:12]}, but {info.agent_sha256[:12] or 'another'} runs"
        )
        raise ProtocolError(message, probe_hint(profile.name))
