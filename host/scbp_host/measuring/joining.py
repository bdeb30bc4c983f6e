"""Two measurements of one model, taken at different times, as one."""

from __future__ import annotations

from dataclasses import replace

from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.verdict import Verdict, VerdictKind
from scbp_host.measuring.paired import latency_ratio, ratio_over_builds
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stability import spread

# What is told anew of the whole.
_OF_THE_RATIO = frozenset({VerdictKind.SPREAD_HIGH, VerdictKind.TOO_FEW_SAMPLES})


def joined(earlier: Measurement, again: Measurement, settings: MeasureSettings) -> Measurement:
    """Return a model's two measurements as one: all loads count, and the doubts of both stay.

    Of an engine built several times, the first build was measured again: its samples are joined, and the others'
    ratios stay as they are. What an earlier release measured has no count of loads; then the new measurement stands.

    Args:
        earlier: with what the model showed alone.
        again: taken under like conditions.
        settings: what was asked for.
    """
    if earlier.sampling is None or again.sampling is None:
        return again
    candidate = earlier.candidate_blocks_ns + again.candidate_blocks_ns
    reference = earlier.reference_blocks_ns + again.reference_blocks_ns
    loads = earlier.sampling.loads + again.sampling.loads
    first = latency_ratio(candidate, reference, loads=loads)
    builds = (first, *earlier.builds[1:]) if earlier.builds else ()
    ratio = ratio_over_builds(builds) if builds else first
    return replace(
        again,
        ratio=ratio,
        builds=builds,
        candidate_blocks_ns=candidate,
        reference_blocks_ns=reference,
        candidate_warmup_ns=earlier.candidate_warmup_ns + again.candidate_warmup_ns,
        reference_warmup_ns=earlier.reference_warmup_ns + again.reference_warmup_ns,
        missed_periods=None if again.missed_periods is None else again.missed_periods + (earlier.missed_periods or 0),
        verdicts=_verdicts(earlier, again, ratio, settings),
        sampling=replace(
            again.sampling,
            loads=loads,
            seconds=earlier.sampling.seconds + again.sampling.seconds,
            discarded=earlier.sampling.discarded + again.sampling.discarded,
        ),
    )


def _verdicts(
    earlier: Measurement, again: Measurement, ratio: Interval, settings: MeasureSettings
) -> tuple[Verdict, ...]:
    others = {own.kind: own for own in (*earlier.verdicts, *again.verdicts) if own.kind not in _OF_THE_RATIO}
    found = spread(ratio, settings)
    return (*others.values(), *([] if found is None else [found]))
