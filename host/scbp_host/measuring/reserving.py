"""Having a device to ourselves, once it is known to do what is asked: one order for everybody who measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scbp_host.device.client import DeviceClient
from scbp_host.measuring.alone import require_energy
from scbp_host.measuring.builds import require_builds


@dataclass(frozen=True)
class Wants:
    """What a device must be able to do, beside having the profile's runtime, and to be while it is ours.

    Attributes:
        purpose: what others read while they wait for it.
        builds: to build one model several times.
        energy: to tell the energy of an inference.
        held_clocks: its clocks are held, as its profile says.
    """

    purpose: str
    builds: bool = False
    energy: bool = False
    held_clocks: bool = False


def reserve(client: DeviceClient, wants: Wants, wait_s: float, on_wait: Callable[[str], None]) -> None:
    """Have the device to ourselves until the client is left; nobody waits for what it cannot do anyway.

    Args:
        client: a connected device.
        wants: what for.
        wait_s: how long to wait for another session to end.
        on_wait: told who has it, once, where there is waiting to do.

    Raises:
        UsageError: its runtime builds nothing.
        DeviceError: it lacks the runtime, or a sensor, or stays in use.
    """
    client.require_runtime(client.profile.runtime)
    if wants.builds:
        require_builds(client)
    if wants.energy:
        require_energy(client)
    client.reserve(wants.purpose, wait_s, on_wait)
    if wants.held_clocks:
        client.lock_clocks()
