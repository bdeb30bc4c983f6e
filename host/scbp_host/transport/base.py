"""What every transport offers, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceProfile
from scbp_host.errors import UnknownNameError

# Lazy, so that a local run never imports paramiko.
_TRANSPORTS = {
    "local": ("scbp_host.transport.local", "LocalTransport"),
    "ssh": ("scbp_host.transport.ssh", "SshTransport"),
}


class Channel(Protocol):
    """A process on the device: lines in, lines out. Its stderr is read all the while, and its end is kept."""

    def send(self, line: bytes, deadline: Deadline) -> None:
        """Write one line, newline included.

        Raises:
            DeviceUnreachable: the process is gone; carries the last line of its stderr.
            DeviceTimeout: the line was not taken in time.
        """

    def receive(self, deadline: Deadline) -> bytes:
        """Return the next line, without its newline.

        Raises:
            DeviceUnreachable: the output has ended; carries the last line of stderr.
            DeviceTimeout: no line came in time.
            ProtocolError: a line is longer than the protocol allows.
        """

    def stderr_tail(self) -> str:
        """Return the end of what the process has written to stderr so far."""

    def close(self) -> None:
        """End the process; may be called again."""


class Transport(Protocol):
    """A connection to one device; made by ``__enter__``, since constructors touch no hardware.

    Paths and working directories are relative to the login folder.
    """

    def __enter__(self) -> Self:
        """Connect; raises a DeviceError."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""

    def put(self, content: bytes | Path, path: str, deadline: Deadline) -> None:
        """Write a file, all of it or nothing, and make the folders above it.

        Args:
            content: the bytes, or a file on this machine.
            path: POSIX path on the device; an existing file is replaced.
            deadline: when to give up.

        Raises:
            DeviceError: the device refuses the file (permissions, a full disk).
            DeviceUnreachable: the connection was lost.
            DeviceTimeout: not done in time.
        """

    def open_channel(self, argv: Sequence[str], deadline: Deadline) -> Channel:
        """Start a process; no shell interprets ``argv``.

        Raises:
            DeviceUnreachable: the connection was lost, or (here or on the first ``receive``) there is no such program.
        """

    def close(self) -> None:
        """Close the connection and every channel of it; may be called again."""


def open_transport(profile: DeviceProfile) -> Transport:
    """Return the transport that the profile asks for; it connects when it is entered.

    Raises:
        UnknownNameError: there is no such transport.
        ConfigError: the profile lacks what this transport needs.
    """
    if profile.transport not in _TRANSPORTS:
        raise UnknownNameError("transport", profile.transport, _TRANSPORTS, f"mend `transport` in {profile.source}")
    module, name = _TRANSPORTS[profile.transport]
    transport: Transport = getattr(importlib.import_module(module), name)(profile)
    return transport


def probe_hint(device: str) -> str:
    """Return the next command to try when a device does not answer."""
    return f"run: scbp-host devices probe {device}"
