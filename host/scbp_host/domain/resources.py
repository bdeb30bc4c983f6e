"""What a model takes of its board beside time, and a budget can limit: peak memory, and the energy of an inference.

Search, ranking and what earlier runs teach treat all of them alike, one by one as :data:`RESOURCES` lists them. Another
one is a line there, with its budget in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scbp_host.domain.measurement import Measurement


@dataclass(frozen=True)
class Resource:
    """One of them.

    Attributes:
        name: in flags and in a ranking's chances.
        title: in messages.
        unit: of every amount of it.
        of: returns what a measurement tells, above zero; None where the board cannot tell.
    """

    name: str
    title: str
    unit: str
    of: Callable[[Measurement], float | None] = field(repr=False)

    @property
    def key(self) -> str:
        """The name with the unit, e.g. ``memory_mb``."""
        return f"{self.name}_{self.unit.lower()}"

    def text(self, amount: float) -> str:
        """Return an amount as messages have it: ``55.0 MB``, ``0.512 mJ``."""
        return f"{amount:.1f} {self.unit}" if amount >= 10 else f"{amount:.3g} {self.unit}"


def _peak_mb(measurement: Measurement) -> float | None:
    return measurement.peak_rss_bytes / 1e6


def _energy_mj(measurement: Measurement) -> float | None:
    energy = measurement.alone and measurement.alone.energy
    # A sensor that reads zero beside a running model tells nothing.
    return energy.joules * 1e3 if energy and energy.joules > 0 else None


MEMORY = Resource("memory", "peak memory", "MB", _peak_mb)
ENERGY = Resource("energy", "energy of one inference", "mJ", _energy_mj)
RESOURCES = (MEMORY, ENERGY)


def resources_of(measurement: Measurement | None) -> dict[Resource, float]:
    """Return how much a measured model takes of each, as far as the board tells."""
    if measurement is None:
        return {}
    amounts = {own: own.of(measurement) for own in RESOURCES}
    return {own: amount for own, amount in amounts.items() if amount is not None}
