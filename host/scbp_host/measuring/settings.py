"""How long to measure, and under which conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scbp_host.config import RunConfig
from scbp_host.domain.device import DeviceProfile


@dataclass(frozen=True)
class MeasureSettings:
    """How long to measure; with the defaults the samples of one pair take 8 x 2 x (120 + 20) ms = 2.24 s.

    Attributes:
        loads: how often all models are loaded anew, in one worker: a batch. Where weights come to lie in memory moves a
            model's latency by several percent from load to load, which no number of samples after one load averages
            out.
        ci_width: measure batch after batch until every ratio's interval (its upper bound less its lower, as a share of
            the ratio) is narrower; None does not ask for that.
        max_seconds: begin no batch that would end later, once there are LEAST_LOADS; None with a ``ci_width`` is
            DEFAULT_SECONDS. With neither, one batch is all.
        most_discarded: batches at most that are thrown away for having been throttled or contended.
        most_together: models at most that take turns in one worker, the reference among them.
        blocks: timed blocks for each model after each load, at least; even, since their order is forth and back.
        block_s: length of a block; at least two runs, so a model of 200 ms takes 12.8 s for its 32 blocks.
        sampling_s: fast models get more blocks, so many that a model's take this after each load. What is left of a
            disturbance in a pair of blocks is several times what one load differs from the next by, and another block
            costs less than another load. None: no more than ``blocks``.
        warmup_s: least warm-up of each model after each load.
        warmup_limit_s: a warm-up that still drifts goes on until here.
        solo_runs: timed runs in the worker that holds one model alone, at least.
        solo_loop_s: length of that worker's timed loop at a camera's rate, and where the board tells its power, which
            is read ten times a second at most; elsewhere it is no more than a look at the memory.
        paired_timeout_s: limit of the paired worker, its start included.
        solo_timeout_s: limit of the solo worker.
        infer_timeout_s: limit for one slice of inputs.
        build_timeout_s: limit of a worker that builds an engine; on the smallest boards that takes many minutes.
        period_ns: runs begin at multiples of it, as a camera gives frames; None is a tight loop.
        memory_limit_bytes: limit of a worker's address space; None sets none. For runtimes on the CPU alone.
    """

    loads: int = 8
    ci_width: float | None = None
    max_seconds: float | None = None
    most_discarded: int = 2
    most_together: int = 2
    blocks: int = 4
    block_s: float = 0.01
    sampling_s: float | None = 0.12
    warmup_s: float = 0.02
    warmup_limit_s: float = 0.5
    solo_runs: int = 5
    solo_loop_s: float = 2.0
    paired_timeout_s: float = 300.0
    solo_timeout_s: float = 60.0
    infer_timeout_s: float = 120.0
    build_timeout_s: float = 3600.0
    period_ns: int | None = None
    memory_limit_bytes: int | None = None


def settings_of(settings: MeasureSettings, config: RunConfig, profile: DeviceProfile) -> MeasureSettings:
    """Return the settings with what configuration and device say of them."""
    return replace(
        settings,
        ci_width=None if config.ci_width is None else config.ci_width / 100.0,
        max_seconds=config.max_seconds,
        most_together=config.together,
        # No rate is a tight loop.
        period_ns=None if config.rate is None else round(1e9 / config.rate),
        memory_limit_bytes=profile.memory_limit_bytes,
    )
