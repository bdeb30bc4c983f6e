"""The profile of a board that has none yet: reached by its address, proposed from what it says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from scbp_host.domain.device import DeviceInfo, DeviceProfile, SshAddress
from scbp_host.errors import UsageError
from scbp_host.profiles import load_profile, propose_profile

_ADDRESS = re.compile(r"(?P<user>[^@\s]+)@(?P<host>\[[^\]\s]+\]|[^@:\s]+)(:(?P<port>\d{1,5}))?")
# In this order, where a board that we do not know has several: a GPU's first.
_RUNTIMES = ("tensorrt", "tensorrt-rtx", "onnxruntime", "ncnn")


def is_address(device: str) -> bool:
    """Return whether this is USER@HOST, which no profile's name and no .toml is."""
    return "@" in device and not device.endswith(".toml")


def profile_at(address: str, key: Path | None, host_key: str, python: str | None) -> DeviceProfile:
    """Return what it takes to ask a board who it is.

    Args:
        address: ``USER@HOST`` or ``USER@HOST:PORT``.
        key: the private key's file; None asks a running ssh-agent.
        host_key: the pinned host key; empty stops the connection, which shows it.
        python: the board's Python; None is ``python3``.

    Raises:
        UsageError: the address is none.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(f"{address!r}: expected USER@HOST or USER@HOST:PORT", "e.g. pi@raspberrypi.local")
    host, port = found["host"].strip("[]"), int(found["port"] or 22)
    ssh = SshAddress(host, found["user"], key, host_key, port, allow_agent=key is None)
    base = load_profile("local")
    return replace(
        base,
        name=address,
        title=host,
        transport="ssh",
        python=python or "python3",
        workdir=".scbp",
        ssh=ssh,
        source=None,
    )


def proposed_toml(profile: DeviceProfile, info: DeviceInfo) -> str:
    """Return the file to write for a board: the built-in profile that fits it, or what the board says of itself.

    Args:
        profile: of :func:`profile_at`, through which it was reached.
        info: what it said.
    """
    known = propose_profile(info.board, info.compatible)
    lines = [f"# {info.board}, proposed by `scbp-host devices probe` from what the board says of itself"]
    lines += _of_a_known_board(known, info) if known else _of_an_unknown_board(info)
    if profile.python != "python3":
        lines.append(f"python = {_toml(profile.python)}")
    if known is None:
        lines += ["", "[hardware]", *_hardware(info.facts)]
    return "\n".join([*lines, "", "[ssh]", *_address(profile)]) + "\n"


def _of_a_known_board(known: DeviceProfile, info: DeviceInfo) -> Iterator[str]:
    yield f"extends = {_toml(known.name)}"
    if known.runtime not in info.runtimes and info.runtimes:
        yield f"runtime = {_toml(_best(info))}  # the board does not have {known.runtime}"


def _of_an_unknown_board(info: DeviceInfo) -> Iterator[str]:
    yield 'extends = "local"'
    yield f"title = {_toml(info.board)}"
    yield 'transport = "ssh"'
    if info.runtimes:
        yield f"runtime = {_toml(_best(info))}"
    if info.compatible:
        yield f"device_tree_model = {_toml(info.board)}"
        yield f"compatible = {_toml([info.compatible[0]])}"


def _hardware(facts: dict[str, Any]) -> Iterator[str]:
    total_bytes = facts.get("memory_total_bytes")
    if total_bytes:
        # The kernel keeps a part of the nominal memory for itself.
        yield f"memory_gb = {-(-total_bytes // 2**30)}"
    told = {"precisions": facts.get("precisions", {}).get("gpu"), "power_modes": facts.get("power_modes")}
    yield from (f"{name} = {_toml(values)}" for name, values in told.items() if values)


def _address(profile: DeviceProfile) -> Iterator[str]:
    ssh = profile.ssh
    assert ssh is not None
    yield f"host = {_toml(ssh.host)}"
    if ssh.port != 22:
        yield f"port = {ssh.port}"
    yield f"user = {_toml(ssh.user)}"
    yield f"key = {_toml(str(ssh.key.absolute()))}" if ssh.key else "allow_agent = true"
    yield f"host_key = {_toml(ssh.host_key)}"


def _best(info: DeviceInfo) -> str:
    return next((name for name in _RUNTIMES if name in info.runtimes), next(iter(info.runtimes)))


def _toml(value: str | list[str]) -> str:
    """Return a string, or a list of them, as TOML; its basic strings escape as JSON's do."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
