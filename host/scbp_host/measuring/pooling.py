"""Batches of loads made one measurement, and which of them cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
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
        result: all batches as one, the reference's samples first.
        sampling: how it came about.
    """

    result: wire.PairedResult
    sampling: Sampling

    @property
    def ratios(self) -> tuple[Interval, ...]:
        """The latency ratio of each model but the reference."""
        return ratios_of(self.result)


def ratios_of(result: wire.PairedResult) -> tuple[Interval, ...]:
    """Return the latency ratio of each model to the first."""
    reference, *others = result.models
    return tuple(latency_ratio(own.blocks_ns, reference.blocks_ns, loads=len(result.loads)) for own in others)


def merge(batches: Sequence[wire.PairedResult]) -> wire.PairedResult:
    """Return batches of the same models as one; there must be one, and :func:`unlike` must have found nothing.

    Args:
        batches: in the order taken.
    """
    return wire.PairedResult(
        [_one_after_the_other(own) for own in zip(*(batch.models for batch in batches), strict=True)],
        [record for own in batches for record in own.loads],
        _total(own.missed_periods for own in batches),
        sum(own.unsteady_warmups for own in batches),
        _throughout([own.conditions for own in batches]),
    )


def as_one_load(parts: Mapping[int, wire.PairedResult]) -> wire.PairedResult:
    """Return models that were each loaded once, in a worker of its own, as one load of a round of them all.

    Args:
        parts: what was taken of the model in each row, in the order taken.
    """
    whole = merge(list(parts.values()))
    record = wire.LoadRecord(
        sum(own.duration_ns for own in whole.loads),
        _total(own.waited_ns for own in whole.loads),
        _total(own.stolen_ns for own in whole.loads),
        sum(own.involuntary_switches for own in whole.loads),
    )
    # Not one model's samples after the other's, as merged, but side by side.
    return whole._replace(models=[parts[row].models[0] for row in sorted(parts)], loads=[record])


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


def _one_after_the_other(parts: Sequence[wire.ModelSamples]) -> wire.ModelSamples:
    return wire.ModelSamples(
        [block for own in parts for block in own.blocks_ns], [sample for own in parts for sample in own.warmup_ns]
    )


def _throughout(conditions: Sequence[Conditions]) -> dict[str, Any]:
    """Return the conditions before the first batch and after the last; what was between is ``during``."""
    told = [(own.get("before"), *own.get("during", ()), own.get("after")) for own in conditions]
    before, *during, _ = itertools.chain.from_iterable(told)
    return {**conditions[-1], "before": before, "during": [moment for moment in during if moment is not None]}


def _total(counts: Iterable[int | None]) -> int | None:
    """Return the sum of what is known; None where nothing is."""
    known = [own for own in counts if own is not None]
    return sum(known) if known else None
