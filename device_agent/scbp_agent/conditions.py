"""What the board says of itself around a measurement. What cannot be read is None, never an exception."""

import glob
import os
import re
from typing import Any, Dict, List, Optional

from scbp_agent import memory

# Sensors that are switched off report values such as -256 °C (Jetson Thor).
_COLDEST_BELIEVABLE_C = -55.0


def read_conditions(root: str = "") -> Dict[str, Any]:
    """Return load, memory, clocks and temperatures as they are now; ``root`` stands before /proc and /sys."""
    return {
        "loadavg": _load_average(root),
        "memory_available_bytes": memory.available_bytes(root),
        "governors": _per_cpu(root, "scaling_governor"),
        "cpu_freq_khz": _cpu_freq_khz(root),
        "temperatures_c": _temperatures_c(root),
    }


def _load_average(root: str) -> Optional[List[float]]:
    try:
        return [float(load) for load in (memory.read_text(root + "/proc/loadavg") or "").split()[:3]] or None
    except ValueError:
        return None


def _per_cpu(root: str, name: str) -> Optional[Dict[str, Optional[str]]]:
    folders = glob.glob(root + "/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    values = {}
    for folder in sorted(folders, key=_first_number):
        text = memory.read_text(os.path.join(folder, name))
        values[os.path.basename(os.path.dirname(folder))] = text.strip() if text else None
    return values or None


def _cpu_freq_khz(root: str) -> Optional[Dict[str, Optional[int]]]:
    texts = _per_cpu(root, "scaling_cur_freq")
    # "<unknown>" is what the kernel prints where the driver does not know.
    if texts is None:
        return None
    return {cpu: int(text) if text and text.isdigit() else None for cpu, text in texts.items()}


def _temperatures_c(root: str) -> Optional[Dict[str, Optional[float]]]:
    zones = {}
    for folder in sorted(glob.glob(root + "/sys/class/thermal/thermal_zone*"), key=_first_number):
        kind = (memory.read_text(os.path.join(folder, "type")) or "").strip()
        # Several zones may be of one type, so the zone's number stays part of the name.
        zones["%s %s" % (os.path.basename(folder), kind)] = _celsius(memory.read_text(os.path.join(folder, "temp")))
    return zones or None


def _celsius(millidegrees: Optional[str]) -> Optional[float]:
    try:
        celsius = int(millidegrees or "") / 1000.0
    except ValueError:
        return None
    return celsius if celsius > _COLDEST_BELIEVABLE_C else None


def _first_number(path: str) -> int:
    return int((re.findall(r"(?:cpu|thermal_zone)(\d+)", path) or ["0"])[0])
