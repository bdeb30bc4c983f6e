"""Raw latency samples in ns. No statistics here: quantiles and intervals are the host's."""

import gc
import itertools
import time
from typing import Any, Callable, List, NamedTuple, Sequence

_MIN_WARMUP_RUNS = 3
_MIN_BLOCK_RUNS = 2

PairedSchedule = NamedTuple("PairedSchedule", [("blocks", int), ("block_ns", int), ("warmup_ns", int)])
PairedSchedule.__doc__ = (
    """``blocks`` for each model, of about ``block_ns``, after ``warmup_ns`` of warm-up for each."""
)

PairedSamples = NamedTuple(
    "PairedSamples",
    [
        ("candidate_blocks_ns", List[List[int]]),
        ("reference_blocks_ns", List[List[int]]),
        ("candidate_warmup_ns", List[int]),
        ("reference_warmup_ns", List[int]),
    ],
)
PairedSamples.__doc__ = """Raw samples, in the order taken."""


def now_ns() -> int:
    """Return a monotonic clock; Python 3.6 knows perf_counter in seconds only."""
    clock_ns = getattr(time, "perf_counter_ns", None)
    return int(clock_ns()) if clock_ns else int(time.perf_counter() * 1e9)


class Subject(object):
    """A model's ``run`` with its inputs, which are cycled through, one a run."""

    def __init__(self, run: Callable[[Any], Any], inputs: Sequence[Any]) -> None:
        self._run = run
        self._inputs = itertools.cycle(inputs)

    def sample_ns(self) -> int:
        """Time one run; the input is at hand before the clock starts."""
        array = next(self._inputs)
        started_ns = now_ns()
        self._run(array)
        # A clock tick coarser than the model would read 0, which is no duration.
        return max(1, now_ns() - started_ns)


def time_runs(subject: Subject, runs: int) -> List[int]:
    """Time ``runs`` runs one after the other, the first one cold."""
    return [subject.sample_ns() for _ in range(runs)]


def time_paired(candidate: Subject, reference: Subject, schedule: PairedSchedule) -> PairedSamples:
    """Time both models in alternating blocks R C | C R | R C | ..., which is ABBA: a drift meets both alike.

    Each model has a count of runs of its own that fills ``block_ns``. With one count for both, a model four times as
    fast would get blocks a quarter as long, and a disturbance of a few ms would fall on it a quarter as often.
    """
    gc.collect()
    gc.disable()
    try:
        reference_warmup, candidate_warmup = _warm_up([reference, candidate], schedule.warmup_ns)
        reference_runs = _runs_per_block(reference_warmup, schedule.block_ns)
        candidate_runs = _runs_per_block(candidate_warmup, schedule.block_ns)
        samples = PairedSamples([], [], candidate_warmup, reference_warmup)
        turns = [
            (reference, reference_runs, samples.reference_blocks_ns),
            (candidate, candidate_runs, samples.candidate_blocks_ns),
        ]
        for block in range(schedule.blocks):
            for subject, runs, blocks_ns in turns if block % 2 == 0 else reversed(turns):
                blocks_ns.append(time_runs(subject, runs))
    finally:
        gc.enable()
    return samples


def _warm_up(subjects: Sequence[Subject], warmup_ns: int) -> List[List[int]]:
    """Run in alternation until each has run ``warmup_ns`` and three times; returns every sample."""
    taken: List[List[int]] = [[] for _ in subjects]
    cold = True
    while cold:
        cold = False
        for subject, samples in zip(subjects, taken):
            if sum(samples) < warmup_ns or len(samples) < _MIN_WARMUP_RUNS:
                samples.append(subject.sample_ns())
                cold = True
    return taken


def _runs_per_block(warmup_ns: List[int], block_ns: int) -> int:
    typical_ns = sorted(warmup_ns)[len(warmup_ns) // 2]
    return max(_MIN_BLOCK_RUNS, round(block_ns / typical_ns))
