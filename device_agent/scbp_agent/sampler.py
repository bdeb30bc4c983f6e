"""The board's conditions during a measurement, taken by the agent while its worker measures."""

import threading
import time
from typing import Any, Dict, List, Optional

from scbp_agent import conditions

# Each sample reads some twenty small files, and on a Pi runs two short programs, beside the worker that measures.
PERIOD_S = 1.0
_LIMIT = 120


class Sampler(object):
    """Takes one sample a period for as long as it is entered; a long measurement's samples are thinned out evenly.

    Args:
        root: as of :func:`scbp_agent.conditions.read_conditions`.
        period_s: between samples.

    Attributes:
        samples: what :func:`scbp_agent.conditions.sample` returns, each with ``at_s`` since the start.
    """

    def __init__(self, root: Optional[str] = None, period_s: float = PERIOD_S) -> None:
        self.samples: List[Dict[str, Any]] = []
        self._root = root
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _take(self) -> None:
        started_s = time.monotonic()
        while not self._ended.wait(self._period_s):
            at_s = round(time.monotonic() - started_s, 3)
            self.samples.append(dict(conditions.sample(self._root), at_s=at_s))
            if len(self.samples) >= _LIMIT:
                del self.samples[::2]
                self._period_s *= 2
