"""Models that take turns on the device, batch after batch of loads, until there are enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.measurement import Sampling, Stopped
from scbp_host.domain.outcome import Failure
from scbp_host.measuring.pooling import Pooled, as_one_load, merge, ratios_of, unlike
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stability import is_spoilt
from scbp_host.measuring.stopping import has_time, reason_to_stop

Models = Sequence[wire.RoundModel]


@dataclass
class _Round:
    """What was taken so far."""

    settings: MeasureSettings
    clock: Callable[[], float]
    batches: list[wire.PairedResult] = field(default_factory=list)
    discarded: int = 0

    def __post_init__(self) -> None:
        self.began = self.last = self.clock()

    def take(self, batch: wire.PairedResult) -> Stopped | Failure | None:
        """Keep a batch or throw it away; returns why it is the last, or why it cannot be one with the others."""
        now = self.clock()
        elapsed_s, took_s, self.last = now - self.began, now - self.last, now
        another = self.discarded < self.settings.most_discarded and has_time(self.settings, elapsed_s, took_s)
        if another and is_spoilt(batch):
            self.discarded += 1
            return None
        problem = unlike(self.batches[0].conditions, batch.conditions) if self.batches else None
        if problem is not None:
            return problem
        self.batches.append(batch)
        return reason_to_stop(self.settings, ratios_of(merge(self.batches)), self.loads, elapsed_s, took_s)

    @property
    def loads(self) -> int:
        return sum(len(own.loads) for own in self.batches)


class RoundBench:
    """Times models beside each other.

    Args:
        client: a connected device.
        settings: how long to measure.
        clock: seconds, monotonic.
    """

    def __init__(
        self, client: DeviceClient, settings: MeasureSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock

    def run(self, models: Models, inputs: wire.TensorRef | None, *, alternating: bool = False) -> Pooled | Failure:
        """Time the models, the first of which is the reference, as long as the settings say.

        Args:
            models: what takes turns.
            inputs: to time with; None means noise.
            alternating: each in a worker of its own, for models that do not fit beside each other.

        Raises:
            DeviceError: the device was lost for good.
        """
        take = self._alternate if alternating else self._client.measure_paired
        own = _Round(self._settings, self._clock)
        plan = self._plan(models, inputs)
        while True:
            batch = take(_like(plan, own.batches[0]) if own.batches else plan)
            if isinstance(batch, Failure):
                return batch
            outcome = own.take(batch)
            if isinstance(outcome, Failure):
                return outcome
            if outcome is not None:
                seconds = self._clock() - own.began
                sampling = Sampling(own.loads, outcome, seconds, own.discarded, len(models), alternating)
                return Pooled(merge(own.batches), sampling)

    def _alternate(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
        """Take one batch in workers that hold one model each, forth and back: a drift still meets all alike."""
        rounds: list[wire.PairedResult] = []
        for load in range(plan.loads):
            parts: dict[int, wire.PairedResult] = {}
            order = range(len(plan.models))
            for row in order if load % 2 == 0 else reversed(order):
                outcome = self._client.measure_paired(_one_load(plan, row))
                if isinstance(outcome, Failure):
                    return outcome
                parts[row] = outcome
            rounds.append(as_one_load(parts))
        return merge(rounds)

    def _plan(self, models: Models, inputs: wire.TensorRef | None) -> wire.PairedPlan:
        settings = self._settings
        return wire.PairedPlan(
            tuple(models),
            inputs,
            loads_in_turn(settings.loads, len(models)),
            settings.blocks,
            round(settings.block_s * 1e9),
            round(settings.warmup_s * 1e9),
            settings.paired_timeout_s,
            warmup_limit_ns=round(settings.warmup_limit_s * 1e9),
            period_ns=settings.period_ns,
            memory_limit_bytes=settings.memory_limit_bytes,
            sampling_ns=None if settings.sampling_s is None else round(settings.sampling_s * 1e9),
        )


def _like(plan: wire.PairedPlan, first: wire.PairedResult) -> wire.PairedPlan:
    """Return the plan with as many blocks after each load as the first batch came to: statistics want equal loads."""
    return plan._replace(blocks=len(first.models[0].blocks_ns) // len(first.loads), sampling_ns=None)


def _one_load(plan: wire.PairedPlan, row: int) -> wire.PairedPlan:
    """Return the plan of a worker that holds one model, and so cannot know how many blocks the others come to."""
    return plan._replace(models=plan.models[row : row + 1], loads=1, sampling_ns=None)


def loads_in_turn(loads: int, models: int) -> int:
    """Return at least so many loads that each model leads in as many."""
    return -(-loads // models) * models
