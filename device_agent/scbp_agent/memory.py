"""Memory figures of the board and of this process, from /proc, in bytes."""

import re
import resource
from typing import Dict, Optional


def read_text(path: str) -> Optional[str]:
    """Return a small file's text, or None where it cannot be read (another board, no permission, a dead sensor)."""
    try:
        with open(path, "rb") as source:
            return source.read().decode("utf-8", "replace")
    except OSError:
        return None


def _kilobyte_fields(path: str) -> Dict[str, int]:
    found = re.findall(r"^(\w+):\s+(\d{1,15}) kB$", read_text(path) or "", re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in found}


def total_bytes(root: str = "") -> Optional[int]:
    """Return the board's memory; ``root`` stands before /proc."""
    return _kilobyte_fields(root + "/proc/meminfo").get("MemTotal")


def available_bytes(root: str = "") -> Optional[int]:
    """Return what a new program could use without swapping: the kernel's own estimate."""
    return _kilobyte_fields(root + "/proc/meminfo").get("MemAvailable")


def peak_rss_bytes() -> int:
    """Return this process's peak resident set (VmHWM)."""
    peak = _kilobyte_fields("/proc/self/status").get("VmHWM")
    # Some sandboxes leave VmHWM out; getrusage counts the same peak, but cannot be reset.
    return peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pss_bytes() -> Optional[int]:
    """Return this process's proportional share: a page of n processes counts 1/n. None before Linux 4.14."""
    return _kilobyte_fields("/proc/self/smaps_rollup").get("Pss")


def limit_address_space(limit_bytes: int) -> None:
    """Let every allocation fail that would take this process's address space beyond ``limit_bytes``."""
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def reset_peak_rss() -> bool:
    """Lower VmHWM to what is resident now; returns whether the kernel allowed it (see proc(5), clear_refs)."""
    try:
        with open("/proc/self/clear_refs", "w") as switch:
            switch.write("5")
    except OSError:
        return False
    return True
