"""Reading a board: small files below a root folder, and the vendor's own programs, each under a deadline."""

import glob
import os
import re
import select
import signal
import subprocess
import time
from typing import Any, Callable, List, Optional

from scbp_agent import memory

# Another board's files, for tests; workers inherit it.
ROOT_VARIABLE = "SCBP_BOARD_ROOT"
# nvpmodel and vcgencmd answer in milliseconds; one that hangs must not hang the agent.
PROGRAM_DEADLINE_S = 2.0
_OUTPUT_LIMIT_BYTES = 64 * 1024
# Beyond what any sensor, counter or clock says; a float holds it exactly, so that no sum of readings is infinite.
_LARGEST = 10**15
# The kernel prints the first where a driver does not know.
_UNKNOWN = ("<unknown>", "<not supported>")


class Source(object):
    """One look at the board: what is not there is None, and so is what makes no sense, but that is noted.

    Args:
        root: stands before every path; None takes the environment's SCBP_BOARD_ROOT, which is empty on a board.

    Attributes:
        unreadable: "what: text" for everything that was there and could not be understood.
    """

    def __init__(self, root: Optional[str] = None) -> None:
        self.root = os.environ.get(ROOT_VARIABLE, "") if root is None else root
        self.unreadable: List[str] = []

    def text(self, path: str) -> str:
        """Return a file's text without white space and NULs around it; empty where it cannot be read."""
        return (memory.read_text(self.root + path) or "").strip("\0 \t\r\n")

    def number(self, path: str) -> Optional[int]:
        """Return the integer in a file."""
        text = self.text(path)
        return None if not text or text in _UNKNOWN else self.parsed(path, text, believable_int)

    def parsed(self, name: str, text: str, parse: Callable[[str], Any]) -> Any:
        """Return ``parse(text)``; a ValueError is noted under ``name``."""
        try:
            return parse(text)
        except ValueError:
            self.unreadable.append("%s: %r" % (name, text[:80]))
            return None

    def paths(self, *patterns: str) -> List[str]:
        """Return what matches any of the patterns, cpu2 before cpu10."""
        found = [path[len(self.root) :] for pattern in patterns for path in glob.glob(glob.escape(self.root) + pattern)]
        return sorted(found, key=lambda path: ([int(number) for number in re.findall(r"\d+", path)], path))

    def run(self, program: str, *arguments: str, one_line: bool = False) -> str:
        """Return what a program prints within the deadline; empty where there is none.

        Args:
            program: its full path.
            arguments: its arguments.
            one_line: end it after its first line; tegrastats never ends by itself.
        """
        process = self.start(program, *arguments)
        return _output(process, one_line).decode("utf-8", "replace").strip() if process else ""

    def start(self, program: str, *arguments: str) -> "Optional[subprocess.Popen[bytes]]":
        """Start a program with a pipe for its output; None where there is none. :func:`end_program` ends it."""
        path = self.root + program
        if not os.access(path, os.X_OK):
            return None
        try:
            return subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None


def believable_int(text: str) -> int:
    """Return the integer that a text is; raises ValueError for none, and for one that no board can mean."""
    value = int(text)
    if abs(value) > _LARGEST:
        raise ValueError("expected at most %d" % _LARGEST)
    return value


def believable_float(text: str) -> float:
    """Return the number that a text is; raises ValueError for none, and for one that no board can mean (inf, nan)."""
    value = float(text)
    if not abs(value) <= _LARGEST:
        raise ValueError("expected at most %d" % _LARGEST)
    return value


def _output(process: "subprocess.Popen[bytes]", one_line: bool) -> bytes:
    assert process.stdout is not None
    content, end = b"", time.monotonic() + PROGRAM_DEADLINE_S
    with process.stdout as stdout:
        while len(content) < _OUTPUT_LIMIT_BYTES and not (one_line and b"\n" in content):
            if not select.select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            chunk = os.read(stdout.fileno(), 4096)
            if not chunk:
                break
            content += chunk
    end_program(process)
    return content.partition(b"\n")[0] if one_line else content


def end_program(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and what it has started, and collect it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        # It has ended, or runs as another user.
        pass
    try:
        process.wait(PROGRAM_DEADLINE_S)
    except subprocess.TimeoutExpired:
        # Stuck in its driver: init collects it one day.
        pass
