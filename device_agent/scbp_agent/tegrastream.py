"""Power while something is measured, on a Jetson whose sensors only root may read: tegrastats tells it to everybody."""

import subprocess
from typing import Optional

from scbp_agent import power, tegrastats, timing
from scbp_agent.probing import Source, end_program
from scbp_agent.sampler import Background, Sample

# It is one process for the whole measurement, and wakes up so often.
INTERVAL_MS = 200
_LONGEST_LINE_BYTES = 64 * 1024


class Tegrastream(Background):
    """Runs tegrastats for as long as it is entered, and takes a sample from each line that tells the board's power."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._process: "Optional[subprocess.Popen[bytes]]" = None

    def __enter__(self) -> "Tegrastream":
        self._process = self._source.start(tegrastats.PROGRAM, "--interval", str(INTERVAL_MS))
        super().__enter__()
        return self

    def _end(self) -> None:
        if self._process is not None:
            end_program(self._process)

    def _gather(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        with self._process.stdout as lines:
            for line in iter(lambda: lines.readline(_LONGEST_LINE_BYTES), b""):
                self._take(line.decode("utf-8", "replace"))

    def _take(self, line: str) -> None:
        at_ns = timing.now_ns()
        said = self._source.parsed("tegrastats", line, tegrastats.parse)
        reading = power.described("tegrastats", said["rails_w"]) if said else {}
        if reading.get("total_w") is not None:
            self.samples.append(Sample(at_ns, reading))
