"""Time and memory of one phase of a worker that holds one model only."""

import gc
from typing import Any, Optional

from scbp_agent import gpu_memory, memory, timing, wire
from scbp_agent.probing import Source


class Phase(object):
    """Measures what happens while it is entered.

    Attributes:
        result: from ``__exit__`` on; ``system_bytes`` is the parent's to say.
    """

    result: wire.Phase

    def __enter__(self) -> "Phase":
        gc.collect()
        # VmHWM only rises, and importing peaks higher than what stays. Reset, it is this phase's own; where the kernel
        # forbids that, it is the highest until the phase's end.
        self._is_own = memory.reset_peak_rss()
        self._started_ns = timing.now_ns()
        return self

    def __exit__(self, *_exception: Any) -> None:
        duration_ns = timing.now_ns() - self._started_ns
        # Reading takes its time: none of it is the phase's.
        peak_rss_bytes = memory.peak_rss_bytes()
        gpu = gpu_memory.of_this_process(Source())
        self.result = wire.Phase(
            started_ns=self._started_ns,
            duration_ns=max(1, duration_ns),
            peak_rss_bytes=peak_rss_bytes,
            peak_is_own=self._is_own,
            pss_bytes=memory.pss_bytes(),
            gpu_bytes=gpu.held_bytes if gpu else None,
            gpu_source=gpu.source if gpu else None,
            system_bytes=None,
        )


def baseline_rss_bytes() -> int:
    """Return what this process holds now; where the kernel does not tell that apart, the most that it has held."""
    gc.collect()
    memory.reset_peak_rss()
    return memory.peak_rss_bytes()


def with_runtimes_count(phase: wire.Phase, held_bytes: Optional[int], runtime: str) -> wire.Phase:
    """Return the phase with the runtime's own count of the GPU's memory, where neither kernel nor driver tell."""
    if phase.gpu_bytes is not None or held_bytes is None:
        return phase
    return phase._replace(gpu_bytes=held_bytes, gpu_source=runtime)
