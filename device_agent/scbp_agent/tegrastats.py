"""The line that NVIDIA's tegrastats prints, of JetPack 4 to 7; its words and their order differ between releases."""

import re
from typing import Any, Dict, Optional

from scbp_agent.probing import Source

PROGRAM = "/usr/bin/tegrastats"
# Milliseconds until the first line.
_INTERVAL_MS = "100"
# Sensors that are switched off report -256.
COLDEST_BELIEVABLE_C = -55.0

# "GPU@40C", "tj@53.968C", "gpu@46.843C/46.843C"
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d{1,4}(?:\.\d{1,6})?)C(?=[\s/]|$)")
# "POM_5V_IN 1750/1628", "VDD_IN 2763mW/2846mW", "VIN 3582mW/3582mW/3582mW": the present comes first.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d{1,9})(?:mW)?/\d+(?:mW)?(?:/\d+mW)?(?!\S)")
# "EMC_FREQ 0%@1600"
_EMC = re.compile(r"(?<!\S)EMC_FREQ (?:\d+%)?@(\d{1,6})(?!\S)")
# "GR3D_FREQ 0%@76", "GR3D_FREQ 63%@[621]", "GR3D_FREQ @[314,314,314]"
_GPU = re.compile(r"(?<!\S)GR3D_FREQ (?:\d+%)?@\[?(\d{1,6})[\],\d]*(?!\S)")


def read(source: Source) -> Optional[Dict[str, Any]]:
    """Return what one line says, see :func:`parse`; None where there is no tegrastats."""
    line = source.run(PROGRAM, "--interval", _INTERVAL_MS, one_line=True)
    return source.parsed("tegrastats", line, parse) if line else None


def parse(line: str) -> Dict[str, Any]:
    """Return ``emc_hz`` and ``gpu_hz`` (None without root), ``temperatures_c`` and ``rails_w``, by name.

    Raises:
        ValueError: the line has none of these.
    """
    emc, gpu = _EMC.search(line), _GPU.search(line)
    heat = {name: float(celsius) for name, celsius in _TEMPERATURE.findall(line)}
    found = {
        "emc_hz": int(emc.group(1)) * 1000000 if emc else None,
        "gpu_hz": int(gpu.group(1)) * 1000000 if gpu else None,
        "temperatures_c": {name: value for name, value in heat.items() if value > COLDEST_BELIEVABLE_C},
        "rails_w": {name: int(milliwatts) / 1000.0 for name, milliwatts in _RAIL.findall(line)},
    }
    if not any(found.values()):
        raise ValueError("not a line of tegrastats")
    return found
