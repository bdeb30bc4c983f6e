"""The runs of a model that is alone in its worker: warm-up, then one timed loop."""

from typing import List, NamedTuple, Optional

from scbp_agent import timing, wire
from scbp_agent.runtimes import base


class Loop(NamedTuple):
    """What the loop gave; ``started_ns`` and ``duration_ns`` are the timed part's, its waiting included."""

    warmup_ns: List[int]
    runs_ns: List[int]
    started_ns: int
    duration_ns: int
    missed_periods: Optional[int]
    device_times: Optional[wire.DeviceTimes]


def run(model: base.Model, subject: timing.Subject, plan: wire.SoloPlan) -> Loop:
    """Warm the model up and time it as the plan says; the first run of the warm-up is the cold one."""
    pace = timing.Pace(plan.period_ns)
    with timing.without_garbage_collection():
        (warmup_ns,) = timing.warm_up([subject], plan.warmup_ns or 0, plan.warmup_limit_ns, pace)
        # What the device has counted until here was the warm-up's.
        model.device_times_ns()
        pace.missed = 0
        started_ns = timing.now_ns()
        runs_ns = timing.time_loop(subject, plan.runs, plan.loop_ns or 0, pace)
        duration_ns = timing.now_ns() - started_ns
    missed = None if plan.period_ns is None else pace.missed
    return Loop(warmup_ns, runs_ns, started_ns, max(1, duration_ns), missed, model.device_times_ns())
