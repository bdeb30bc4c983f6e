"""What the agent, outside the worker, sees of the board while one measurement is under way.

A thread in the worker would share Python's lock with what is timed, and could not see what the rest of the board does.
"""

from contextlib import ExitStack
from typing import Any, Dict, List, Optional

from scbp_agent import conditions, memory, power, timing, wire
from scbp_agent.probing import Source
from scbp_agent.sampler import Background, Sampler, smaller, within
from scbp_agent.tegrastream import Tegrastream

# Each sample of the conditions reads some twenty small files, and on a Pi runs two short programs, beside the worker.
CONDITIONS_PERIOD_S = 1.0
# One line of /proc/meminfo, which the kernel writes in some 20 us: to load a small model takes 20 ms.
MEMORY_PERIOD_S = 0.005
_MEMORY_LIMIT = 4000
# Fewer readings than this within the timed loop are no mean.
MIN_POWER_SAMPLES = 3


class Watch(object):
    """Samples the board for as long as it is entered.

    Args:
        root: as of :func:`scbp_agent.conditions.read_conditions`.
        closely: sample memory and power often as well: for a worker that holds one model only, in which a latency is
            not compared with another's.
    """

    def __init__(self, root: Optional[str] = None, closely: bool = False) -> None:
        self._root = Source(root).root
        self._closely = closely
        self._stack = ExitStack()
        self._started_ns = 0
        self._available_before: Optional[int] = None
        self._conditions = Sampler(lambda: conditions.sample(self._root), CONDITIONS_PERIOD_S)
        self._memory = Sampler(self._read_memory, MEMORY_PERIOD_S, _MEMORY_LIMIT, smaller)
        self._power: Optional[Background] = None

    def __enter__(self) -> "Watch":
        self._started_ns = timing.now_ns()
        self._available_before = self._read_memory()
        samplers: List[Background] = [self._conditions]
        if self._closely:
            samplers.append(self._memory)
            self._power = self._power_sampler()
            samplers.append(self._power)
        for own in samplers:
            self._stack.enter_context(own)
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._stack.close()

    def during(self) -> List[Dict[str, Any]]:
        """Return the conditions sampled, each with ``at_s`` since the start."""
        return [
            dict(sample.value, at_s=round((sample.at_ns - self._started_ns) / 1e9, 3))
            for sample in self._conditions.samples
        ]

    def system_bytes(self, started_ns: int, ended_ns: int) -> Optional[int]:
        """Return how much less memory the board had at the worst moment of a span than before the worker began.

        The page cache is no loss: the kernel counts it as available. None where no sample fell into the span, or where
        others gave back more than the worker took.
        """
        seen: List[int] = within(self._memory.samples, started_ns, ended_ns)
        if not seen or self._available_before is None:
            return None
        lost_bytes = self._available_before - min(seen)
        return lost_bytes if lost_bytes > 0 else None

    def energy(self, started_ns: int, ended_ns: int, inferences: int) -> Optional[wire.Energy]:
        """Return the energy of one of so many inferences in a span: mean power x span / inferences, nothing taken off.

        None where no rail stands for the whole board, or fewer than MIN_POWER_SAMPLES readings fell into the span.
        """
        seen = within(self._power.samples, started_ns, ended_ns) if self._power else []
        if len(seen) < MIN_POWER_SAMPLES:
            return None
        mean_w = sum(reading["total_w"] for reading in seen) / len(seen)
        joules = mean_w * (ended_ns - started_ns) / 1e9 / inferences
        return wire.Energy(joules, mean_w, seen[0]["sampler"], seen[0]["total_rails"], len(seen))

    def _read_memory(self) -> Optional[int]:
        return memory.available_bytes(self._root)

    def _power_sampler(self) -> Background:
        meter = power.find_meter(Source(self._root))
        if meter is None:
            return Tegrastream(Source(self._root))
        read, period_s = meter.read, meter.period_s
        return Sampler(lambda: read(Source(self._root)), period_s)
