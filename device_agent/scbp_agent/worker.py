"""One measurement in a child process: the parent's side, which survives whatever the child does.

A model can segfault its runtime, eat all memory or never come back. The child gets a deadline, a process group of its
own and one line of stdout; each way to fail is a typed failure, and the next request finds the agent as before.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any, Dict, List, Optional

import scbp_agent
from scbp_agent import wire

_LOG = logging.getLogger(__name__)
_STDERR_TAIL_BYTES = 16 * 1024
# What a dead child has left in its pipes is there at once; only a process that it left behind can hold them open.
_DRAIN_S = 1.0
# [jkjung-avt/tensorrt_demos#293, #344]
_KILLED_HINT = (
    "see dmesg on the board; close what else runs there, a desktop first. A TensorRT engine is built with less memory"
    " where [runtime_settings] has a smaller workspace_bytes"
)
_CRASH_HINTS = {
    "SIGILL": "numpy 1.19.5 does this on a Jetson Nano: install numpy==1.19.4, or set OPENBLAS_CORETYPE=ARMV8",
}


class WorkerExhausted(wire.AgentFailure):
    """The worker's process itself died of lack of memory, and could not say what it was doing."""


def archive_path() -> str:
    """Return the zipapp this agent runs from; empty where it runs from a folder."""
    spec = scbp_agent.__spec__
    return str(getattr(spec.loader, "archive", "")) if spec else ""


def worker_command() -> List[str]:
    """Return the argument list that starts this same agent as a worker of this process."""
    program = [archive_path()] if archive_path() else ["-m", "scbp_agent"]
    return [sys.executable, *program, "worker", "--parent", str(os.getpid())]


class Supervisor(object):
    """Runs one worker at a time; :meth:`close` may be called from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: "Optional[subprocess.Popen[bytes]]" = None
        self._closed = False

    def run(self, kind: str, job: Dict[str, Any], deadline_s: float) -> Dict[str, Any]:
        """Run one job in a fresh process and return its result.

        Args:
            kind: a name in :data:`scbp_agent.jobs.JOBS`.
            job: JSON values; what the job takes.
            deadline_s: the child is killed when it takes longer, start of the interpreter included.

        Raises:
            AgentFailure: what the child reported, or TIMEOUT, OUT_OF_MEMORY, WORKER_CRASHED.
        """
        child = self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        stdout = _Drain(child.stdout, wire.MAX_LINE_BYTES)
        stderr = _Drain(child.stderr, _STDERR_TAIL_BYTES)
        _send(child.stdin, {"kind": kind, "job": job})
        in_time = self._await_end(child, deadline_s)
        stdout.join(_DRAIN_S)
        stderr.join(_DRAIN_S)
        if self._closed:
            raise _session_ended()
        if not in_time:
            message = "the worker (%s) did not finish within %g s" % (kind, deadline_s)
            raise wire.AgentFailure(wire.TIMEOUT, message, "allow a longer deadline, or try a smaller model")
        return _result(child.returncode, stdout.tail(), stderr.tail().decode("utf-8", "replace"))

    def close(self) -> None:
        """Kill the running worker, and start no other."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                _kill_group(self._child)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise _session_ended()
            # Its own session: a kill reaches whatever the runtime has started, and the agent's terminal is not its.
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(
                worker_command(), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
            return self._child

    def _await_end(self, child: "subprocess.Popen[bytes]", deadline_s: float) -> bool:
        # Waiting in the kernel costs no CPU time, while Popen.wait(timeout) polls and would disturb the timing.
        ended = threading.Event()
        threading.Thread(target=_await_exit, args=(child.pid, ended), daemon=True).start()
        # A lock cannot wait longer than this, which is centuries.
        in_time = ended.wait(min(deadline_s, threading.TIMEOUT_MAX))
        with self._lock:
            self._child = None
            # Until it is waited for, its process id is its own, and so is its group: what it left behind goes, too.
            _kill_group(child)
        child.wait()
        return in_time


class _Drain(object):
    """Reads a pipe to its end in a thread, so that no child blocks on it, and keeps the last ``limit_bytes``."""

    def __init__(self, pipe: IO[bytes], limit_bytes: int) -> None:
        self._pipe = pipe
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            for chunk in iter(lambda: os.read(self._pipe.fileno(), 65536), b""):
                self._kept += chunk
                del self._kept[: -self._limit_bytes]

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the pipe; returns whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def tail(self) -> bytes:
        """Return what was kept."""
        return bytes(self._kept)


def _session_ended() -> wire.AgentFailure:
    message = "the worker was stopped: the session has ended"
    return wire.AgentFailure(wire.WORKER_CRASHED, message, transient=True)


def _await_exit(pid: int, ended: threading.Event) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended.set()


def _send(stdin: IO[bytes], request: Dict[str, Any]) -> None:
    try:
        with stdin:
            stdin.write(json.dumps(request).encode("utf-8"))
    except BrokenPipeError:
        # The child is dead already; its exit status says why.
        pass


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _result(returncode: int, stdout: bytes, stderr: str) -> Dict[str, Any]:
    if returncode != 0:
        _LOG.warning("worker ended with %d; its stderr:\n%s", returncode, stderr)
        raise _crash(returncode, stderr)
    try:
        reply = wire.decode(stdout)
        if wire.field(reply, "ok", bool):
            return dict(wire.field(reply, "result", dict))
        error = wire.field(reply, "error", dict)
    except wire.WireError as error:
        message = "the worker gave no result (%s)%s" % (error, _last_line(stderr))
        raise wire.AgentFailure(wire.WORKER_CRASHED, message)
    raise wire.AgentFailure(**error)


def _crash(returncode: int, stderr: str) -> wire.AgentFailure:
    if "std::bad_alloc" in stderr or "MemoryError" in stderr:
        return WorkerExhausted(wire.OUT_OF_MEMORY, "the worker ran out of memory" + _last_line(stderr))
    if returncode == -signal.SIGKILL:
        message = "the worker was killed, most likely by the kernel for lack of memory"
        return WorkerExhausted(wire.OUT_OF_MEMORY, message, _KILLED_HINT)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        message = "the worker died of %s%s" % (name, _last_line(stderr))
        return wire.AgentFailure(wire.WORKER_CRASHED, message, _CRASH_HINTS.get(name, ""))
    message = "the worker ended with exit status %d%s" % (returncode, _last_line(stderr))
    return wire.AgentFailure(wire.WORKER_CRASHED, message)


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return ": " + lines[-1][:500] if lines else ""
