"""What every stage of one run works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import RunConfig
from scbp_host.device.client import DeviceClient
from scbp_host.domain.candidate import SeedSpec
from scbp_host.domain.device import DeviceProfile
from scbp_host.events import Listener
from scbp_host.export.formats import converter_for
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.measuring.settings import period_of
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.ledger import Ledger
from scbp_host.tasks.base import Task

# Real images to time with: unrealistic inputs give wrong times on CPUs.
TIMING_IMAGES = 16


@dataclass(frozen=True)
class RunContext:
    """One run in progress.

    Attributes:
        config: what was asked for.
        profile: the device's facts.
        client: the connected device.
        task: the data.
        spec: the seed.
        ledger: what is acknowledged.
        artifacts: the files.
        settings: how long to measure.
        listen: told of progress.
    """

    config: RunConfig
    profile: DeviceProfile
    client: DeviceClient
    task: Task
    spec: SeedSpec
    ledger: Ledger
    artifacts: Artifacts
    settings: MeasureSettings
    listen: Listener

    def measuring(self, reference: bytes, *, filler: bool) -> MeasuringSession:
        """Return a session that pairs every model with ``reference``; ``filler``: its weights are, so pack it."""
        settings = replace(
            self.settings,
            period_ns=period_of(self.config.rate),
            memory_limit_bytes=self.profile.memory_limit_bytes,
        )
        return MeasuringSession(
            self.client,
            settings,
            self.client.options,
            reference,
            self.timing_images,
            self.config.random_seed,
            pack_reference=filler,
            convert=converter_for(self.profile.runtime),
        )

    @property
    def timing_images(self) -> NDArray[np.float32]:
        """Real images from the validation split, ``(n, channels, height, width)``."""
        return self.task.first(TIMING_IMAGES)
