"""A reading of the board, taken again and again by the agent while its worker measures."""

import threading
from typing import Any, Callable, List, NamedTuple

from scbp_agent import timing

_LIMIT = 120
_PATIENCE_S = 10.0

Sample = NamedTuple("Sample", [("at_ns", int), ("value", Any)])
Sample.__doc__ = """What was read, and when it had been, on the clock of :func:`scbp_agent.timing.now_ns`."""


def later(_first: Sample, second: Sample) -> Sample:
    """Return the second: what a reading was halfway is known well enough by its neighbours."""
    return second


def smaller(first: Sample, second: Sample) -> Sample:
    """Return the one with the smaller value, where the worst moment is asked for."""
    return min(first, second, key=lambda sample: sample.value)


class Background(object):
    """A thread that gathers samples for as long as it is entered.

    Attributes:
        samples: in the order taken.
    """

    def __init__(self) -> None:
        self.samples: List[Sample] = []
        self._thread = threading.Thread(target=self._gather, daemon=True)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._end()
        # A reading that hangs in its driver must not hang the agent.
        self._thread.join(_PATIENCE_S)

    def _gather(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """Make :meth:`_gather` return."""
        raise NotImplementedError


class Sampler(Background):
    """Takes one sample a period for as long as it is entered; a long measurement's are thinned out, two into one.

    Args:
        read: returns the value; None is no sample.
        period_s: between samples.
        limit: at most so many samples are kept.
        keep: of two neighbours, the one that stays.
    """

    def __init__(
        self,
        read: Callable[[], Any],
        period_s: float,
        limit: int = _LIMIT,
        keep: Callable[[Sample, Sample], Sample] = later,
    ) -> None:
        super().__init__()
        self._read = read
        self._period_s = period_s
        self._limit = limit
        self._keep = keep
        self._ended = threading.Event()

    def _end(self) -> None:
        self._ended.set()

    def _gather(self) -> None:
        while not self._ended.wait(self._period_s):
            value = self._read()
            if value is not None:
                self.samples.append(Sample(timing.now_ns(), value))
            if len(self.samples) >= self._limit:
                self._thin_out()

    def _thin_out(self) -> None:
        pairs = zip(self.samples[::2], self.samples[1::2])
        self.samples[:] = [self._keep(first, second) for first, second in pairs]
        self._period_s *= 2


def within(samples: List[Sample], started_ns: int, ended_ns: int) -> List[Any]:
    """Return the values of the samples taken in this span."""
    return [sample.value for sample in samples if started_ns <= sample.at_ns <= ended_ns]
