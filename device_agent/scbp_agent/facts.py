"""What ``hello`` answers: which board this is, what it can run, and how much room it has."""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
from typing import Any, Dict, Optional

import scbp_agent
from scbp_agent import conditions, identity, memory, wire
from scbp_agent.probing import Source
from scbp_agent.runtimes import base
from scbp_agent.worker import Supervisor, archive_path

# Importing a runtime for the first time from a slow SD card takes its time.
_PROBE_DEADLINE_S = 120.0


def hello_result(workdir: str) -> Dict[str, Any]:
    """Return the answer to ``hello``; starts one short worker for each runtime that this agent knows."""
    source = Source()
    return dict(
        _agent(),
        **_board(source),
        disk_free_bytes=shutil.disk_usage(workdir).free,
        conditions=conditions.read_conditions(),
        runtime_settings={name: _settings(name) for name in base.RUNTIMES},
        **probe_runtimes(),
    )


def _agent() -> Dict[str, Any]:
    return {
        "protocol_version": wire.PROTOCOL_VERSION,
        "agent_version": scbp_agent.__version__,
        "agent_sha256": _agent_sha256(),
        "encodings": [wire.RAW] + ([wire.XZ] if importlib.util.find_spec("_lzma") else []),
    }


def _board(source: Source) -> Dict[str, Any]:
    return {
        "board": identity.board(source),
        "emulated": identity.emulator(source),
        "compatible": identity.compatible(source),
        "os_release": identity.os_release(source),
        "l4t": identity.l4t(source),
        "jetpack": identity.jetpack(source),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "precisions": identity.precisions(source),
        "power_modes": sorted(conditions.power_modes(source).values()),
        "memory_total_bytes": memory.total_bytes(source.root),
        "memory_available_bytes": memory.available_bytes(source.root),
        "cache_bytes": _cache_bytes(source),
        "libraries": identity.libraries(),
    }


def _cache_bytes(source: Source) -> Optional[int]:
    """Return the size of the largest cache, which all cores share as a rule; None where the kernel does not tell."""
    texts = [source.text(path) for path in source.paths("/sys/devices/system/cpu/cpu0/cache/index*/size")]
    found = [re.match(r"(\d{1,9})K$", text) for text in texts]
    return max((int(own.group(1)) * 1024 for own in found if own), default=None)


def _agent_sha256() -> str:
    if not archive_path():
        return ""
    with open(archive_path(), "rb") as archive:
        return hashlib.sha256(archive.read()).hexdigest()


def _settings(name: str) -> Dict[str, str]:
    """Return what this runtime can be told, and in words what it takes."""
    return {key: setting.expected for key, setting in base.load(name).SETTINGS.items()}


def probe_runtimes() -> Dict[str, Dict[str, Any]]:
    """Return what this board's runtimes are, by their names.

    ``runtimes`` holds versions, ``max_opset`` the newest ONNX opset, ``runtime_capabilities`` what else a runtime says
    of itself, and ``missing`` why one cannot be used, and how to get it.
    """
    found: Dict[str, Dict[str, Any]] = {"runtimes": {}, "max_opset": {}, "runtime_capabilities": {}, "missing": {}}
    for name in base.RUNTIMES:
        try:
            told = _probe(name)
        except wire.AgentFailure as failure:
            found["missing"][name] = "; ".join(part for part in (failure.message, failure.hint) if part)
            continue
        found["runtimes"][name], found["max_opset"][name] = str(told["version"]), told["max_opset"]
        found["runtime_capabilities"][name] = told["capabilities"]
    return found


def _probe(name: str) -> Dict[str, Any]:
    """Import a runtime in a worker: some take hundreds of MB, and a wrong build kills its process."""
    runtime = base.load(name)
    if not any(importlib.util.find_spec(library) for library in runtime.LIBRARIES):
        # Nothing to import: this says so, and what to install, without a process for it.
        runtime.version()
    # A supervisor of its own: closing the session must not make a runtime look missing.
    return Supervisor().run("probe", {"runtime": name}, _PROBE_DEADLINE_S)
