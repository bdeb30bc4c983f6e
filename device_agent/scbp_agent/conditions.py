"""What the board says of itself around a measurement. What cannot be read is None, never an exception."""

import os
import re
from typing import Any, Dict, List, Optional, Sequence

from scbp_agent import memory, power, raspberry, tegrastats
from scbp_agent.probing import Source, believable_float

LOCKED = "locked"
DVFS = "DVFS"

_CPUS = ("/sys/devices/system/cpu/cpu[0-9]*/cpufreq",)
# The GPU's clock is in the first on most Jetsons, in the second on the older ones; both may show the same device.
_DEVICES = ("/sys/class/devfreq/*", "/sys/devices/*/devfreq/*")
# Names of cooling devices and counters by which a Jetson says that it slowed down.
_ALERTS = ("throttle-alert", "hot-surface-alert")
_EVENTS = "/sys/class/hwmon/hwmon*/oc*_event_cnt"


def read_conditions(root: Optional[str] = None) -> Dict[str, Any]:
    """Return load, memory, power mode, clocks, temperatures, throttling and power as they are now.

    Args:
        root: stands before every path; None is this board.
    """
    source = Source(root)
    line = tegrastats.read(source)
    found = {
        "loadavg": _load_average(source),
        "memory_available_bytes": memory.available_bytes(source.root),
        "power_mode": power_mode(source),
        "clock_policy": clock_policy(source),
        "governors": _texts(source, _CPUS, "scaling_governor"),
        "device_governors": _texts(source, _DEVICES, "governor"),
    }
    return _with_notes(source, dict(found, **_readings(source, line)))


def sample(root: Optional[str] = None) -> Dict[str, Any]:
    """Return the part of the conditions that moves during a measurement, without starting tegrastats."""
    source = Source(root)
    return _with_notes(source, _readings(source, None))


def power_mode(source: Source) -> Optional[str]:
    """Return the name of nvpmodel's active mode, or its number where that has no name; None but on a Jetson."""
    status = source.text("/var/lib/nvpmodel/status")
    number = source.parsed("nvpmodel status", status, _power_mode_number) if status else None
    if number is not None:
        return power_modes(source).get(number, str(number))
    asked = re.search(r"NV Power Mode: *(.+)", source.run("/usr/sbin/nvpmodel", "-q"))
    return asked.group(1) if asked else None


def power_modes(source: Source) -> Dict[int, str]:
    """Return the board's own names of nvpmodel's modes: the numbers differ from board to board."""
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S+)\s*>", source.text("/etc/nvpmodel.conf"))
    return {int(number): name for number, name in modes}


def _power_mode_number(status: str) -> int:
    found = re.match(r"pmode:(\d{1,4})(?!\d)", status)
    if not found:
        raise ValueError("expected pmode:NUMBER")
    return int(found.group(1))


def clock_policy(source: Source) -> Optional[str]:
    """Return LOCKED where no clock of CPU or GPU can move, else DVFS; None where the board shows no clocks."""
    held = [
        source.text(folder + "/scaling_governor") == "performance" or _held(source, folder + "/scaling_%s_freq")
        for folder in source.paths(*_CPUS)
    ]
    held += [_held(source, folder + "/%s_freq") for folder in _gpus(source)]
    if not held:
        return None
    return LOCKED if all(held) else DVFS


def _held(source: Source, pattern: str) -> bool:
    lowest = source.number(pattern % "min")
    return lowest is not None and lowest == source.number(pattern % "max")


def _gpus(source: Source) -> List[str]:
    found = {os.path.basename(path): path for path in reversed(source.paths(*_DEVICES))}
    return [path for name, path in found.items() if re.search(r"gpu|gv11b|gp10b", name)]


def _readings(source: Source, line: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    line = line or {}
    device_freq_hz = _numbers(source, _DEVICES, "cur_freq") or {}
    for name in ("emc_hz", "gpu_hz"):
        if line.get(name) is not None:
            device_freq_hz["tegrastats " + name[: -len("_hz")]] = line[name]
    return {
        "cpu_freq_khz": _numbers(source, _CPUS, "scaling_cur_freq"),
        "device_freq_hz": device_freq_hz or None,
        "temperatures_c": _temperatures_c(source) or line.get("temperatures_c") or None,
        "throttle": raspberry.throttle(source) or _throttle_events(source),
        "power": power.read_power(source, line),
    }


def _with_notes(source: Source, found: Dict[str, Any]) -> Dict[str, Any]:
    return dict(found, unreadable=source.unreadable or None)


def _load_average(source: Source) -> Optional[List[float]]:
    text = source.text("/proc/loadavg")
    return source.parsed("loadavg", text, _three_loads) if text else None


def _three_loads(text: str) -> List[float]:
    return [believable_float(load) for load in text.split()[:3]]


def _texts(source: Source, patterns: Sequence[str], name: str) -> Optional[Dict[str, Optional[str]]]:
    return {_title(folder): source.text(folder + "/" + name) or None for folder in source.paths(*patterns)} or None


def _numbers(source: Source, patterns: Sequence[str], name: str) -> Optional[Dict[str, Optional[int]]]:
    return {_title(folder): source.number(folder + "/" + name) for folder in source.paths(*patterns)} or None


def _title(folder: str) -> str:
    return os.path.basename(os.path.dirname(folder) if folder.endswith("/cpufreq") else folder)


def _temperatures_c(source: Source) -> Optional[Dict[str, Optional[float]]]:
    # Several zones may be of one type, so the zone's number stays part of the name.
    return {
        "%s %s" % (os.path.basename(zone), source.text(zone + "/type")): _celsius(source.number(zone + "/temp"))
        for zone in source.paths("/sys/class/thermal/thermal_zone*")
    } or None


def _celsius(millidegrees: Optional[int]) -> Optional[float]:
    celsius = None if millidegrees is None else millidegrees / 1000.0
    return celsius if celsius is not None and celsius > tegrastats.COLDEST_BELIEVABLE_C else None


def _throttle_events(source: Source) -> Optional[Dict[str, Optional[int]]]:
    """A Jetson's cooling devices that are alerts (0: not now), and its counters of over-current events."""
    events = {}
    for folder in source.paths("/sys/class/thermal/cooling_device*"):
        kind = source.text(folder + "/type")
        if kind.endswith(_ALERTS):
            events[kind] = source.number(folder + "/cur_state")
    for path in source.paths(_EVENTS):
        events[os.path.basename(path)] = source.number(path)
    return events or None
