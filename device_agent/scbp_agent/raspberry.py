"""What the Raspberry Pi's firmware says through vcgencmd."""

import re
from typing import Dict, Optional

from scbp_agent.probing import Source

PROGRAM = "/usr/bin/vcgencmd"
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled: now in these bits, since boot 16 higher.
_BITS = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_SINCE_BOOT = 16
# "VDD_CORE_A current(7)=6.22421000A", "VDD_CORE_V volt(15)=0.86173300V"
_READING = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d{1,6}\.\d{1,12})\2\s*$", re.MULTILINE)


def throttle(source: Source) -> Optional[Dict[str, int]]:
    """Return 1 or 0 for each flag; ``NAME_since_boot`` stays set until a restart."""
    text = source.run(PROGRAM, "get_throttled")
    return source.parsed("vcgencmd get_throttled", text, throttle_flags) if text else None


def throttle_flags(text: str) -> Dict[str, int]:
    """Parse ``throttled=0x50000``; raises ValueError for anything else."""
    found = re.match(r"throttled=(0x[0-9a-fA-F]+)$", text)
    if not found:
        raise ValueError("expected throttled=0x...")
    bits = int(found.group(1), 16)
    flags = {name: bits >> place & 1 for place, name in enumerate(_BITS)}
    flags.update((name + "_since_boot", bits >> _SINCE_BOOT + place & 1) for place, name in enumerate(_BITS))
    return flags


def pmic_rails_w(source: Source) -> Dict[str, float]:
    """Return the power of each of the Pi 5's internal rails in W; empty on other boards."""
    text = source.run(PROGRAM, "pmic_read_adc")
    # What the firmware of a board without this PMIC says: error=1 error_msg="Command not registered".
    if not text or text.startswith("error="):
        return {}
    return source.parsed("vcgencmd pmic_read_adc", text, rails_w) or {}


def rails_w(text: str) -> Dict[str, float]:
    """Parse ``pmic_read_adc``: current and voltage are paired by name, since their order differs.

    Raises:
        ValueError: there is not one pair.
    """
    readings: Dict[str, Dict[str, float]] = {"A": {}, "V": {}}
    for name, unit, value in _READING.findall(text):
        readings[unit][name] = float(value)
    rails = {name: amperes * readings["V"][name] for name, amperes in readings["A"].items() if name in readings["V"]}
    if not rails:
        raise ValueError("expected NAME_A current(N)=... and NAME_V volt(N)=...")
    return rails
