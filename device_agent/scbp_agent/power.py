"""Power in W, rail by rail, and where each figure comes from."""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from scbp_agent import raspberry
from scbp_agent.probing import Source

# Rails that make up the whole board's power, the first set that is there: Nano; Thor; Xavier NX, Orin Nano and NX; AGX
# Orin. No other rail may be added. [NVIDIA's Jetson Linux guide, power monitors; rbonghi/jetson_stats]
_TOTALS = (("POM_5V_IN",), ("VIN",), ("VDD_IN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
# Seconds between readings during a measurement: a file takes a millisecond or two over I2C, a program must be started.
FILE_PERIOD_S = 0.1
PROGRAM_PERIOD_S = 0.5
_I2C = "/sys/bus/i2c"


class Meter(NamedTuple):
    """A sampler that tells the whole board's power; ``period_s`` is how often that does not disturb a measurement."""

    sampler: str
    rails_w: Callable[[Source], Dict[str, float]]
    period_s: float

    def read(self, source: Source) -> Optional[Dict[str, Any]]:
        """Return a reading as :func:`read_power` does; None where a rail of the total is missing."""
        reading = described(self.sampler, self.rails_w(source))
        return None if reading["total_w"] is None else reading


def find_meter(source: Source) -> Optional[Meter]:
    """Return the meter of the sampler that tells; None where that knows no rail that stands for the whole board."""
    for sampler, rails_w, is_program in _SAMPLERS:
        if rails_w(source):
            meter = Meter(sampler, rails_w, PROGRAM_PERIOD_S if is_program else FILE_PERIOD_S)
            return meter if meter.read(source) else None
    return None


def read_power(source: Source, line: Optional[Dict[str, Any]] = None) -> Optional[Dict[str, Any]]:
    """Return ``sampler``, ``rails_w``, and ``total_w`` with the ``total_rails`` it sums.

    Args:
        source: the board.
        line: what tegrastats said, for a board whose sensors only root may read.

    Returns:
        None where nothing tells; ``total_w`` is None where no rail stands for the whole board.
    """
    for sampler, read, _ in _SAMPLERS:
        rails_w = read(source)
        if rails_w:
            return described(sampler, rails_w)
    return described("tegrastats", line["rails_w"]) if line and line["rails_w"] else None


def described(sampler: str, rails_w: Dict[str, float]) -> Dict[str, Any]:
    """Return a reading of :func:`read_power` for the power of each rail."""
    # The Pi's rails are those behind its PMIC: they miss what USB and the 5 V pins draw, so there is no total.
    names = next((names for names in _TOTALS if set(names) <= set(rails_w)), None)
    total_w = sum(rails_w[name] for name in names) if names else None
    return {"sampler": sampler, "rails_w": rails_w, "total_w": total_w, "total_rails": names and list(names)}


def _iio_rails_w(source: Source) -> Dict[str, float]:
    """JetPack 4: milliwatts; on a Nano for root alone."""
    rails_w = {}
    for path in source.paths(_I2C + "/drivers/ina3221x/*/iio:device*/rail_name_*"):
        folder, number = os.path.dirname(path), path.rpartition("_")[2]
        milliwatts = source.number("%s/in_power%s_input" % (folder, number))
        if milliwatts is not None:
            rails_w[source.text(path)] = milliwatts / 1000.0
    return rails_w


def _hwmon_rails_w(source: Source) -> Dict[str, float]:
    """JetPack 5 on: millivolts times milliamperes."""
    rails_w = {}
    for path in source.paths(_I2C + "/devices/*/hwmon/hwmon*/in*_label"):
        volts, amperes = _milli(source, path[: -len("_label")]), _milli(source, _current(path))
        if volts is not None and amperes is not None:
            rails_w[source.text(path)] = volts * amperes
    return rails_w


def _milli(source: Source, channel: str) -> Optional[float]:
    value = source.number(channel + "_input")
    return None if value is None else value / 1000.0


def _current(label: str) -> str:
    folder, name = os.path.split(label)
    return os.path.join(folder, "curr" + name[len("in") : -len("_label")])


def _power_sensors_w(source: Source) -> Dict[str, float]:
    """Any other hwmon sensor, in microwatts."""
    rails_w = {}
    for path in source.paths("/sys/class/hwmon/hwmon*/power*_input"):
        microwatts = source.number(path)
        if microwatts is not None:
            name = source.text(path[: -len("_input")] + "_label") or source.text(os.path.dirname(path) + "/name")
            rails_w[name] = microwatts / 1e6
    return rails_w


_SAMPLERS: Tuple[Tuple[str, Any, bool], ...] = (
    ("INA3221, iio", _iio_rails_w, False),
    ("INA3221, hwmon", _hwmon_rails_w, False),
    ("vcgencmd pmic_read_adc", raspberry.pmic_rails_w, True),
    ("hwmon", _power_sensors_w, False),
)
