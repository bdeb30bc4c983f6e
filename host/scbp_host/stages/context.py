"""What every stage of one run works with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import RunConfig
from scbp_host.device.client import DeviceClient
from scbp_host.domain.candidate import SeedSpec
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.precision import Precision
from scbp_host.events import Listener
from scbp_host.export.formats import converter_for
from scbp_host.export.precision import Variant, make_variant
from scbp_host.export.sensitivity import Score
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.measuring.settings import settings_of
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.ledger import Ledger
from scbp_host.tasks.base import Task

# Real images to time with: unrealistic inputs give wrong times on CPUs.
TIMING_IMAGES = 16
# Training images that the ranges of eight bits come from, and validation images that choose layers to leave in float.
CALIBRATION_IMAGES, JUDGING_IMAGES = 64, 256


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

    def untrained_variant(self, structure: bytes) -> Variant:
        """Return a structure in the run's first precision; filler has arbitrary ranges, which no latency depends on."""
        return make_variant(structure, self.config.first_precision, *self._runtime, self.timing_images[:1])

    def trained_variant(self, exported: bytes, precision: Precision) -> Variant:
        """Return a trained network in one precision: calibrated on training images, judged on validation images."""
        return make_variant(exported, precision, *self._runtime, self._calibration_images, self._judging)

    def measuring(self, reference: Variant, *, filler: bool) -> MeasuringSession:
        """Return a session that pairs every model with ``reference``; ``filler``: its weights are, so pack it."""
        options = self.client.options
        return MeasuringSession(
            self.client,
            settings_of(self.settings, self.config, self.profile),
            options._replace(settings={**options.settings, **reference.settings}),
            reference.onnx,
            self.timing_images,
            pack_reference=filler,
            convert=converter_for(self.profile.runtime),
        )

    @property
    def _runtime(self) -> tuple[str, str]:
        return self.profile.runtime, self.client.info.runtimes[self.profile.runtime]

    @property
    def _calibration_images(self) -> NDArray[np.float32]:
        # Folders come class by class: images from all over the split.
        rows = np.linspace(0, len(self.task.train) - 1, min(CALIBRATION_IMAGES, len(self.task.train)))
        return self.task.train.part(rows.astype(np.int64)).images

    @property
    def _judging(self) -> tuple[NDArray[np.float32], Score]:
        rows = np.linspace(0, len(self.task.validation) - 1, min(JUDGING_IMAGES, len(self.task.validation)))
        part = self.task.validation.part(rows.astype(np.int64))
        return part.images, lambda outputs: self.task.metric(outputs, part.labels)

    @property
    def timing_images(self) -> NDArray[np.float32]:
        """Real images from the validation split, ``(n, channels, height, width)``."""
        return self.task.first(TIMING_IMAGES)
