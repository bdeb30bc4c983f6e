"""What ``hello`` answers: which board this is, what it can run, and how much room it has."""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
from typing import Any, Dict, List

import scbp_agent
from scbp_agent import conditions, memory, wire
from scbp_agent.runtimes import base
from scbp_agent.worker import Supervisor, archive_path

# Importing a runtime for the first time from a slow SD card takes its time.
_PROBE_DEADLINE_S = 120.0


def hello_result(workdir: str) -> Dict[str, Any]:
    """Return the answer to ``hello``; starts one short worker for each runtime that this agent knows."""
    return dict(
        _identity(),
        disk_free_bytes=shutil.disk_usage(workdir).free,
        memory_total_bytes=memory.total_bytes(),
        memory_available_bytes=memory.available_bytes(),
        conditions=conditions.read_conditions(),
        **probe_runtimes(),
    )


def _identity() -> Dict[str, Any]:
    return {
        "protocol_version": wire.PROTOCOL_VERSION,
        "agent_version": scbp_agent.__version__,
        "agent_sha256": _agent_sha256(),
        "board": board(),
        "compatible": compatible(),
        "os_release": os_release(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "encodings": [wire.RAW] + ([wire.XZ] if importlib.util.find_spec("_lzma") else []),
    }


def _agent_sha256() -> str:
    if not archive_path():
        return ""
    with open(archive_path(), "rb") as archive:
        return hashlib.sha256(archive.read()).hexdigest()


def board(root: str = "") -> str:
    """Return the device tree's model, else the CPU's name and architecture; ``root`` stands before /proc."""
    model = (memory.read_text(root + "/proc/device-tree/model") or "").strip("\0 \n")
    if model:
        return model
    names = re.findall(r"^(?:model name|Hardware)\s*:\s*(.+)$", memory.read_text(root + "/proc/cpuinfo") or "", re.M)
    return "%s (%s)" % (names[0].strip(), platform.machine()) if names else platform.machine()


def compatible(root: str = "") -> List[str]:
    """Return the device tree's ``compatible`` strings, most specific first; empty where there is no device tree."""
    return [name for name in (memory.read_text(root + "/proc/device-tree/compatible") or "").split("\0") if name]


def os_release(root: str = "") -> str:
    """Return the distribution's name, with the L4T release (which JetPack follows from) on a Jetson."""
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]*)', memory.read_text(root + "/etc/os-release") or "", re.M)
    tegra = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", memory.read_text(root + "/etc/nv_tegra_release") or "")
    name = pretty.group(1) if pretty else platform.system()
    return "%s, L4T %s.%s" % (name, tegra.group(1), tegra.group(2)) if tegra else name


def probe_runtimes() -> Dict[str, Dict[str, str]]:
    """Return ``{"runtimes": {name: version}, "missing": {name: why, and how to get it}}``.

    A runtime is imported in a worker: some take hundreds of MB, and a wrong build kills its process.
    """
    runtimes, missing = {}, dict(base.COMING)
    for name in base.RUNTIMES:
        try:
            # A supervisor of its own: closing the session must not make a runtime look missing.
            version = Supervisor().run("probe", {"runtime": name}, _PROBE_DEADLINE_S)
            runtimes[name] = str(version["version"])
        except wire.AgentFailure as failure:
            missing[name] = "; ".join(part for part in (failure.message, failure.hint) if part)
    return {"runtimes": runtimes, "missing": missing}
