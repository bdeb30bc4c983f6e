"""A board's facts, and what a board says of itself. Neither opens a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SshAddress:
    """How to reach a board over SSH.

    Attributes:
        host: name or address.
        user: account on the board.
        key: private key file on this machine; None lets the profile's ``allow_agent`` decide.
        host_key: the board's pinned public host key, ``ssh-ed25519 AAAA...``; empty means not yet accepted.
        port: TCP port.
        allow_agent: whether a running ssh-agent may offer keys.
    """

    host: str
    user: str
    key: Path | None = None
    host_key: str = ""
    port: int = 22
    allow_agent: bool = False


@dataclass(frozen=True)
class DeviceProfile:
    """Facts of one board, from one TOML file; no behaviour.

    Attributes:
        name: what ``--device`` takes.
        title: the board's full name.
        transport: ``local`` or ``ssh``.
        runtime: the inference runtime the agent uses, e.g. ``onnxruntime`` or ``tensorrt``.
        channel_step: produced widths are multiples of this.
        opset: ONNX opset of exported models.
        ir_version: ONNX IR version of exported models.
        threads: intra-op threads of one inference.
        python: the board's Python interpreter.
        workdir: the agent's folder on the board; relative to the login folder.
        ssh: the address; None where none is configured (always for ``local``).
        source: the file the profile came from.
        device_tree_model: how the board's ``/proc/device-tree/model`` begins; empty where that is not known.
    """

    name: str
    title: str
    transport: str
    runtime: str
    channel_step: int
    opset: int
    ir_version: int
    threads: int
    python: str
    workdir: str
    ssh: SshAddress | None = None
    source: Path | None = None
    device_tree_model: str = ""


@dataclass(frozen=True)
class DeviceInfo:
    """What the agent answered to ``hello``; ``facts`` is the whole answer, as recorded."""

    agent_sha256: str
    protocol_version: int
    board: str
    os_release: str
    python: str
    runtimes: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
