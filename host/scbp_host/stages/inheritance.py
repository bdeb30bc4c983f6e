"""What a candidate starts its training with: the seed's most important channels, or fresh weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.space.derive import derive
from scbp_host.space.importance import Scores, channel_scores, kept_shares
from scbp_host.space.initial import from_scratch
from scbp_host.space.seeds import Module
from scbp_host.tasks.base import Split, Task
from scbp_host.training.inference import recalibrate_batch_norm

# First-order importance looks at this many training batches; more move the ranking little.
IMPORTANCE_BATCHES, IMPORTANCE_BATCH_SIZE = 8, 64
# Enough for means and variances to a few per cent.
CALIBRATION_IMAGES = 512


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
        module = derive(candidate, self._source, self.scores)
        # The channels that went changed what the layers behind them see.
        recalibrate_batch_norm(module, self._images(CALIBRATION_IMAGES).images)
        return module

    def _images(self, count: int) -> Split:
        """Draw ``count`` training images, all where there are fewer; a folder's lie class by class."""
        train = self._task.train
        rows = np.random.default_rng(self._config.random_seed).permutation(len(train))[:count]
        return train.part(rows)
