"""What a candidate starts its training with: the seed's most important channels, or fresh weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.space.importance import Scores, channel_scores, kept_shares
from scbp_host.space.initial import from_scratch
from scbp_host.space.seeds import Module
from scbp_host.space.slices import Carver, Carving
from scbp_host.tasks.base import Split, Task
from scbp_host.training.inference import recalibrate_batch_norm
from scbp_host.training.refit import KeptOutputs, refit

# First-order importance looks at this many training batches; more move the ranking little.
IMPORTANCE_BATCHES, IMPORTANCE_BATCH_SIZE = 8, 64
# What inherited layers are fitted to and BatchNorm's statistics come from; they go through the seed in one batch.
CALIBRATION_IMAGES, MIN_CALIBRATION_IMAGES = 512, 64
CALIBRATION_PIXELS = 2**21


class Inheritance:
    """Hands the trained seed's weights on to candidates.

    Args:
        config: says which criterion, and whether to inherit at all.
        task: the data; only training images are looked at.
        spec: the seed.
        source: the trained seed; stays as it is.
    """

    def __init__(self, config: RunConfig, task: Task, spec: SeedSpec, source: Module) -> None:
        self._config = config
        self._task = task
        self._spec = spec
        self._source = source

    @cached_property
    def scores(self) -> Scores:
        """How important each of the seed's channels is, by the run's criterion."""
        few = self._images(IMPORTANCE_BATCHES * IMPORTANCE_BATCH_SIZE)
        starts = range(0, len(few), IMPORTANCE_BATCH_SIZE)
        batches = [
            (few.images[at : at + IMPORTANCE_BATCH_SIZE], few.labels[at : at + IMPORTANCE_BATCH_SIZE]) for at in starts
        ]
        config = self._config
        return channel_scores(self._source, self._spec, config.importance, batches, config.random_seed, self._task.loss)

    def shares(self) -> Mapping[str, NDArray[np.float64]]:
        """Return for each group the share of importance that w channels keep, ``(channels + 1,)``."""
        channels = {name: len(self._source.get_parameter(f"{name}.weight")) for name in self.scores}
        return kept_shares(self.scores, channels)

    def start(self, candidate: Candidate) -> Module:
        """Return the candidate's network as its training begins; raises ModelError where it cannot be derived."""
        if self._config.init == "from-scratch":
            return from_scratch(candidate, self._config.random_seed)
        carving = self._carver.carve(candidate)
        self.settle(carving.module, _kept_outputs(carving))
        return carving.module

    def settle(self, module: Module, kept: KeptOutputs) -> None:
        """Make up for what ``module`` lost, in place: refit its layers, or only recalibrate BatchNorm.

        Args:
            module: a part of the seed, with its weights.
            kept: for each layer which of the seed's outputs it has; None where it has them all.
        """
        images = self._images(self._calibration_images()).images
        # The channels that went changed what the layers behind them see.
        if self._config.refits:
            refit(module, self._source, kept, images)
        else:
            recalibrate_batch_norm(module, images)

    @cached_property
    def _carver(self) -> Carver:
        return Carver(self._source, self._spec, self.scores)

    def _calibration_images(self) -> int:
        height, width = self._task.input_shape[1:]
        return min(CALIBRATION_IMAGES, max(MIN_CALIBRATION_IMAGES, CALIBRATION_PIXELS // (height * width)))

    def _images(self, count: int) -> Split:
        """Draw ``count`` training images, all where there are fewer; a folder's lie class by class."""
        train = self._task.train
        rows = np.random.default_rng(self._config.random_seed).permutation(len(train))[:count]
        return train.part(rows)


def _kept_outputs(carving: Carving) -> KeptOutputs:
    slices = carving.slices.items()
    return {name.removesuffix(".weight"): own.axes[0] for name, own in slices if name.endswith(".weight")}
