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
class Hardware:
    """What a board is made of, as far as a source says; None or empty is unknown.

    Attributes:
        cpu: cores, their kind and clock.
        memory_gb: nominal, shared by CPU and GPU.
        compute_capability: of the GPU, as CUDA counts.
        bandwidth_gb_s: memory bandwidth, GB/s.
        peak_fp32_gflops: GFLOPS in single precision.
        peak_fp16_gflops: GFLOPS in half precision.
        peak_int8_gops: 10^9 dense INT8 operations a second.
        precisions: what the GPU calculates in.
        power_modes: names of nvpmodel's modes; their numbers differ between releases.
        power_rails: the rails whose sum is the whole board's power.
    """

    cpu: str = ""
    memory_gb: int | None = None
    compute_capability: str = ""
    bandwidth_gb_s: float | None = None
    peak_fp32_gflops: float | None = None
    peak_fp16_gflops: float | None = None
    peak_int8_gops: float | None = None
    precisions: tuple[str, ...] = ()
    power_modes: tuple[str, ...] = ()
    power_rails: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClockSettings:
    """How a board's clocks are held while it measures; nothing set is: not known.

    Attributes:
        power_mode: nvpmodel's mode, by its name on the board.
        jetson_clocks: whether ``jetson_clocks`` holds the clocks at that mode's highest.
        governor: of the CPUs, e.g. ``performance``.
    """

    power_mode: str | None = None
    jetson_clocks: bool = False
    governor: str | None = None


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
        memory_limit_bytes: of a worker's address space, where the runtime is on the CPU; None sets no limit.
        device_tree_model: a part of the board's ``/proc/device-tree/model``; empty where that is not known.
        compatible: entries of ``/proc/device-tree/compatible`` of which one is enough to know the board.
        timeout_scale: times every measurement's time limit; for a board that takes long to load a runtime.
        hardware: what the board is made of.
        clocks: how ``--lock-clocks`` holds them.
        reference_latency_ms: what others measured, batch 1, 224 x 224, by model and runtime; bands to compare with.
        runtime_settings: what the runtime is told beside ``threads``; the agent's module of it checks them.
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
    memory_limit_bytes: int | None = None
    device_tree_model: str = ""
    compatible: tuple[str, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)
    clocks: ClockSettings = ClockSettings()
    timeout_scale: float = 1.0
    reference_latency_ms: dict[str, float] = field(default_factory=dict)
    runtime_settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceInfo:
    """What the agent answered to ``hello``; ``facts`` is the whole answer, as recorded."""

    agent_sha256: str
    protocol_version: int
    board: str
    os_release: str
    python: str
    runtimes: dict[str, str]
    compatible: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> str | None:
        """What emulates this board; None where it is a real one. An emulator's times say nothing of a board's."""
        emulated = self.facts.get("emulated")
        return None if emulated is None else str(emulated)
