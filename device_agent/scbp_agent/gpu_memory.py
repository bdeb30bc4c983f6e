"""What the GPU holds for this process, as the board's kernel or driver counts it, in bytes."""

import functools
import glob
import os
import re
from typing import Callable, NamedTuple, Optional, Tuple

from scbp_agent.probing import Source

# For root alone. Nano to Orin, up to JetPack 6. [jtop's processes.py; drivers/video/tegra/nvmap/nvmap_dev.c]
NVMAP = "/sys/kernel/debug/nvmap/iovmm/clients"
# JetPack 7's unified driver, and other NVIDIA GPUs.
NVIDIA_SMI = "/usr/bin/nvidia-smi"
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}

GpuMemory = NamedTuple("GpuMemory", [("held_bytes", int), ("source", str)])
GpuMemory.__doc__ = """What is held, and who says so."""


def of_this_process(source: Source) -> Optional[GpuMemory]:
    """Return what the GPU holds for this process; None where it uses none, or nobody tells."""
    return of_process(source, os.getpid()) if _uses_nvidia() else None


def of_process(source: Source, pid: int) -> Optional[GpuMemory]:
    """Return what the GPU holds for a process; None where nobody tells."""
    for name, ask, parse in _TELLERS:
        text = ask(source)
        held_bytes = source.parsed(name, text, functools.partial(parse, pid=pid)) if text else None
        if held_bytes is not None:
            return GpuMemory(held_bytes, name)
    return None


def parse_nvmap(text: str, pid: int) -> Optional[int]:
    """Read nvmap's clients, ``user  python3  1234  123456K``; a process may be several clients.

    Raises:
        ValueError: the text has no client at all.
    """
    rows = re.findall(r"^\w+\s+\S+\s+(\d{1,10})\s+(\d{1,12})([KMG])\s*$", text, re.MULTILINE)
    if not rows and "CLIENT" not in text:
        raise ValueError("expected nvmap's clients")
    own = [int(size) * _UNITS[unit] for client, size, unit in rows if int(client) == pid]
    return sum(own) if own else None


def parse_nvidia_smi(text: str, pid: int) -> Optional[int]:
    """Read ``1234, 456`` (process, MiB) a line; a process may be on several GPUs.

    Raises:
        ValueError: a line is something else.
    """
    held_bytes = []
    for line in text.splitlines():
        found = re.match(r"\s*(\d{1,10}), (?:(\d{1,9})|\[N/A\])\s*$", line)
        if not found:
            raise ValueError("expected PID, MIB")
        if int(found.group(1)) == pid and found.group(2):
            held_bytes.append(int(found.group(2)) * 1024**2)
    return sum(held_bytes) if held_bytes else None


def _uses_nvidia() -> bool:
    """Whether this process has a device file of NVIDIA's open: without one there is nothing to ask for."""
    targets = (_target(path) for path in glob.glob("/proc/self/fd/*"))
    return any(target.startswith("/dev/nv") for target in targets)


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        # Closed meanwhile.
        return ""


def _ask_nvmap(source: Source) -> str:
    return source.text(NVMAP)


def _ask_nvidia_smi(source: Source) -> str:
    return source.run(NVIDIA_SMI, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


_Teller = Tuple[str, Callable[[Source], str], Callable[..., Optional[int]]]
_TELLERS: Tuple[_Teller, ...] = (
    ("nvmap", _ask_nvmap, parse_nvmap),
    ("nvidia-smi", _ask_nvidia_smi, parse_nvidia_smi),
)
