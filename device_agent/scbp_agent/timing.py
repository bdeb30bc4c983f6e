"""Raw latency samples in ns. No statistics here: quantiles and intervals are the host's."""

import contextlib
import gc
import itertools
import math
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from scbp_agent import wire

_MIN_WARMUP_RUNS = 3
_MIN_BLOCK_RUNS = 2
# At a camera's rate a block of 10 ms would be one of hundreds of frames where the model is small.
_MAX_PACED_BLOCK_RUNS = 5
# The drift test: what the medians of two neighbouring windows of so many runs may differ by, as a share of the first,
# or as a multiple of their own spread where that is more.
_WINDOW_RUNS, _MOST_WINDOW_RUNS = 10, 50
_DRIFT_SHARE = 0.02
_DRIFT_SPREADS = 1.0


class PairedSchedule(NamedTuple):
    """``blocks`` for each model, of about ``block_ns`` each, after a warm-up of each model.

    With ``sampling_ns`` there are more blocks where the models are fast: so many that they take this for each of them.
    The number stays even.
    The warm-up takes ``warmup_ns`` at least and lasts until :func:`is_steady`, or until ``warmup_limit_ns`` (None: no
    longer than ``warmup_ns``). With ``period_ns`` each run begins at the next multiple of the period.
    """

    blocks: int
    block_ns: int
    warmup_ns: int
    warmup_limit_ns: Optional[int] = None
    period_ns: Optional[int] = None
    sampling_ns: Optional[int] = None


class RoundSamples(NamedTuple):
    """Each model's raw samples, in the order taken; periods that were missed, and warm-ups that still drifted."""

    models: List[wire.ModelSamples]
    missed_periods: int = 0
    unsteady_warmups: int = 0


# A model, its runs in a block, and where its samples are kept.
Turn = Tuple["Subject", int, wire.ModelSamples]


def now_ns() -> int:
    """Return a monotonic clock, on Linux the same in every process; Python 3.6 knows perf_counter in seconds only."""
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


class Pace(object):
    """A camera that gives a frame each period: who comes late waits for the next one.

    Deadlines are absolute, so that neither the runs nor a sleep that ends late add up to a slower rate.

    Args:
        period_ns: from frame to frame; None never waits.

    Attributes:
        missed: frames that came and went while a run was under way.
    """

    def __init__(self, period_ns: Optional[int]) -> None:
        self.period_ns = period_ns
        self.missed = 0
        self._due_ns: Optional[int] = None

    def wait(self) -> None:
        """Return when the next frame is there."""
        if self.period_ns is None:
            return
        if self._due_ns is None:
            self._due_ns = now_ns()
            return
        late_ns = now_ns() - (self._due_ns + self.period_ns)
        missed = max(0, -(-late_ns // self.period_ns))
        self.missed += missed
        self._due_ns += (1 + missed) * self.period_ns
        _sleep_until(self._due_ns)

    def taken_ns(self, samples: Sequence[int]) -> int:
        """Return what runs of these durations took, the waiting included."""
        return sum(max(sample, self.period_ns or 0) for sample in samples)


def _sleep_until(due_ns: int) -> None:
    wait_ns = due_ns - now_ns()
    while wait_ns > 0:
        time.sleep(wait_ns / 1e9)
        wait_ns = due_ns - now_ns()


def time_runs(subject: Subject, runs: int, pace: Optional[Pace] = None) -> List[int]:
    """Time ``runs`` runs one after the other, or at the pace; waiting is in no sample."""
    return time_loop(subject, runs, 0, pace or Pace(None))


def time_loop(subject: Subject, runs: int, loop_ns: int, pace: Pace) -> List[int]:
    """Time runs until there are ``runs`` of them and ``loop_ns`` have passed."""
    samples: List[int] = []
    end_ns = now_ns() + loop_ns
    while len(samples) < runs or now_ns() < end_ns:
        pace.wait()
        samples.append(subject.sample_ns())
    return samples


def time_round(subjects: Sequence[Subject], schedule: PairedSchedule) -> RoundSamples:
    """Time the models in alternating blocks A B C | C B A | A B C | ...: a linear drift meets all alike.

    For two that is ABBA. Each model has a count of runs of its own that fills ``block_ns``. With one count for all, a
    model four times as fast would get blocks a quarter as long, and a disturbance of a few ms would fall on it a
    quarter as often. The first run of each block is kept with the warm-up: the others have filled the caches meanwhile,
    which slows it down, and more so a large model among many. In use, nothing comes between a model's runs.
    """
    pace = Pace(schedule.period_ns)
    with without_garbage_collection():
        warmups = warm_up(subjects, schedule.warmup_ns, schedule.warmup_limit_ns, pace)
        models = [wire.ModelSamples([], warmup_ns) for warmup_ns in warmups]
        unsteady = sum(is_drifting(samples) for samples in warmups)
        turns = [(own, _runs_per_block(kept.warmup_ns, schedule), kept) for own, kept in zip(subjects, models)]
        for block in range(_blocks(turns, schedule, pace)):
            for subject, runs, kept in turns if block % 2 == 0 else reversed(turns):
                kept.warmup_ns.extend(time_runs(subject, 1, pace))
                kept.blocks_ns.append(time_runs(subject, runs, pace))
    return RoundSamples(models, pace.missed, unsteady)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect now, and not within the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def warm_up(subjects: Sequence[Subject], warmup_ns: int, warmup_limit_ns: Optional[int], pace: Pace) -> List[List[int]]:
    """Run in alternation until each is warm; returns every sample.

    Args:
        subjects: the models.
        warmup_ns: what each takes at least; three runs at least, however long they are.
        warmup_limit_ns: what each may take until it is steady; None does not wait for that.
        pace: of the runs.
    """
    taken: List[List[int]] = [[] for _ in subjects]

    def is_cold(samples: List[int]) -> bool:
        taken_ns = pace.taken_ns(samples)
        if taken_ns < warmup_ns or len(samples) < _MIN_WARMUP_RUNS:
            return True
        return taken_ns < (warmup_limit_ns or 0) and not is_steady(samples)

    cold = True
    while cold:
        cold = False
        for subject, samples in zip(subjects, taken):
            if is_cold(samples):
                pace.wait()
                samples.append(subject.sample_ns())
                cold = True
    return taken


def is_steady(samples: Sequence[int]) -> bool:
    """Return whether the last runs show no drift any more; False where there are too few to tell."""
    return len(samples) >= 2 * _WINDOW_RUNS and not is_drifting(samples)


def is_drifting(samples: Sequence[int]) -> bool:
    """Return whether the last runs differ from those before them by more than 2 % and more than their spread explains.

    Compared are the medians of the last third of all runs and of the third before it, of 10 runs at least and 50 at
    most: two windows of five, which came before, take a slow decay for level. Spread is the sum of both windows' median
    absolute deviations, which a median of more runs follows by less.
    """
    window = min(_MOST_WINDOW_RUNS, max(_WINDOW_RUNS, len(samples) // 3))
    before, last = samples[-2 * window : -window], samples[-window:]
    if len(before) < _WINDOW_RUNS:
        return False
    drift = abs(_median(last) - _median(before))
    spread = (_deviation(before) + _deviation(last)) * math.sqrt(_WINDOW_RUNS / window)
    return drift > max(_DRIFT_SHARE * _median(before), _DRIFT_SPREADS * spread)


def _deviation(samples: Sequence[int]) -> int:
    middle = _median(samples)
    return _median([abs(sample - middle) for sample in samples])


def _median(samples: Sequence[int]) -> int:
    return sorted(samples)[len(samples) // 2]


def _blocks(turns: Sequence[Turn], schedule: PairedSchedule, pace: Pace) -> int:
    """Return how many blocks each model gets: all take as long as ``sampling_ns`` for each, or are as few as asked."""
    if schedule.sampling_ns is None:
        return schedule.blocks
    # One run of each block is kept with the warm-up.
    round_ns = sum(pace.taken_ns([_median(kept.warmup_ns)] * (runs + 1)) for _, runs, kept in turns)
    return max(schedule.blocks, 2 * (schedule.sampling_ns * len(turns) // (2 * round_ns)))


def _runs_per_block(warmup_ns: List[int], schedule: PairedSchedule) -> int:
    runs = max(_MIN_BLOCK_RUNS, round(schedule.block_ns / _median(warmup_ns)))
    return runs if schedule.period_ns is None else min(runs, _MAX_PACED_BLOCK_RUNS)
