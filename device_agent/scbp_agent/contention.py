"""What the kernel counts of others who wanted the processors while this process was timed."""

import glob
import os
import re
import resource
from typing import Any, NamedTuple, Optional

from scbp_agent import timing, wire
from scbp_agent.memory import read_text


class _Counts(NamedTuple):
    at_ns: int
    waited_ns: Optional[int]
    stolen_ns: Optional[int]
    involuntary_switches: int


class Counter(object):
    """Counts while it is entered.

    Attributes:
        record: from ``__exit__`` on.
    """

    record: wire.LoadRecord

    def __enter__(self) -> "Counter":
        self._start = _read()
        return self

    def __exit__(self, *_exception: Any) -> None:
        start, end = self._start, _read()
        self.record = wire.LoadRecord(
            max(1, end.at_ns - start.at_ns),
            _difference(start.waited_ns, end.waited_ns),
            _difference(start.stolen_ns, end.stolen_ns),
            end.involuntary_switches - start.involuntary_switches,
        )


def _read() -> _Counts:
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return _Counts(timing.now_ns(), _waited_ns(), _stolen_ns(), switches)


def _difference(start: Optional[int], end: Optional[int]) -> Optional[int]:
    # A thread that ended meanwhile has taken its count along.
    return None if start is None or end is None else max(0, end - start)


def _waited_ns() -> Optional[int]:
    """Return how long this process's threads were ready and did not run: the second field of their schedstat."""
    texts = [read_text(path) for path in glob.glob("/proc/self/task/*/schedstat")]
    found = [re.match(r"\d+ (\d{1,18}) ", text) for text in texts if text is not None]
    return sum(int(own.group(1)) for own in found if own) if any(found) else None


def _stolen_ns() -> Optional[int]:
    """Return what the hypervisor took from all processors together: the eighth figure of /proc/stat's first line."""
    found = re.match(r"cpu +(?:\d+ ){7}(\d{1,15})", read_text("/proc/stat") or "")
    return int(found.group(1)) * 10**9 // os.sysconf("SC_CLK_TCK") if found else None
