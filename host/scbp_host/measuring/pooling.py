"""Batches of loads made one measurement, and which of them cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scbp_agent import wire
from scbp_host.domain.measurement import Interval, Sampling
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.measuring.paired import latency_ratio

Conditions = Mapping[str, Any]

# What two measurements must agree in to be one: other clocks, or another runtime, are another device.
_OF_A_MOMENT = {"power_mode": "power mode", "clock_policy": "clock policy"}
RUNTIME_VERSION = "runtime_version"


@dataclass(frozen=True)
class Pooled:
    """Everything timed in one round.

    Attributes:
        models: each model's samples, the reference's first.
        loads: how each load went.
        missed_periods: see :class:`scbp_agent.wire.PairedResult`.
        unsteady_warmups: see there.
        conditions: before the first batch, during all, after the last.
        sampling: how it came about.
    """

    models: tuple[wire.ModelSamples, ...]
    loads: tuple[wire.LoadRecord, ...]
    missed_periods: int | None
    unsteady_warmups: int
    conditions: dict[str, Any]
    sampling: Sampling

    @property
    def ratios(self) -> tuple[Interval, ...]:
        """The latency ratio of each model but the reference."""
        return ratios_of(self.models, len(self.loads))


def ratios_of(models: Sequence[wire.ModelSamples], loads: int) -> tuple[Interval, ...]:
    """Return the latency ratio of each model to the first."""
    reference, *others = models
    return tuple(latency_ratio(own.blocks_ns, reference.blocks_ns, loads=loads) for own in others)


def samples_of(batches: Sequence[wire.PairedResult]) -> tuple[wire.ModelSamples, ...]:
    """Return each model's samples of all batches."""
    return tuple(
        wire.ModelSamples(
            [block for own in of_model for block in own.blocks_ns],
            [sample for own in of_model for sample in own.warmup_ns],
        )
        for of_model in zip(*(batch.models for batch in batches), strict=True)
    )


def pool(batches: Sequence[wire.PairedResult], sampling: Sampling) -> Pooled:
    """Return the batches as one; there must be one, and :func:`unlike` must have found nothing."""
    missed = [own.missed_periods for own in batches if own.missed_periods is not None]
    return Pooled(
        samples_of(batches),
        tuple(record for own in batches for record in own.loads),
        sum(missed) if missed else None,
        sum(own.unsteady_warmups for own in batches),
        {
            **batches[-1].conditions,
            "before": batches[0].conditions.get("before"),
            "during": [moment for own in batches for moment in own.conditions.get("during", ())],
        },
        sampling,
    )


def unlike(first: Conditions, second: Conditions) -> Failure | None:
    """Return why two measurements cannot be one, from the conditions that each was taken under; None where they can.

    What a device does not tell is no difference.
    """
    then, now = _circumstances(first), _circumstances(second)
    for name, own in now.items():
        if name in then and then[name] != own:
            return Failure(
                FailureKind.UNLIKE_CONDITIONS,
                f"the {name} was {then[name]} and is {own} now: such measurements are not one",
                "put it back, or start a new run; --lock-clocks holds the clocks meanwhile",
            )
    return None


def _circumstances(conditions: Conditions) -> dict[str, str]:
    moment = conditions.get("after") or {}
    found = {title: moment.get(name) for name, title in _OF_A_MOMENT.items()}
    found["runtime's version"] = conditions.get(RUNTIME_VERSION)
    return {name: str(own) for name, own in found.items() if own is not None}
