"""The run's data."""

from __future__ import annotations

from scbp_host.config import RunConfig
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task


def load_run_task(config: RunConfig) -> Task:
    """Load what the run was asked to work on: the same in every process; raises DataError where it cannot be read."""
    return load_task(config.data, config.input_shape, config.augment, config.max_corrupt_images)
