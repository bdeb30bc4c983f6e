"""The JSON-lines loop: requests on stdin, replies on the real stdout, everything else on stderr."""

import errno
import logging
import os
import queue
import signal
import threading
from typing import Any, BinaryIO, Dict, Optional

from scbp_agent import stdio, wire
from scbp_agent.blobs import BlobStore
from scbp_agent.clocks import Clocks
from scbp_agent.lock import BoardLock
from scbp_agent.methods import Method, Methods, require_protocol
from scbp_agent.worker import Supervisor

_LOG = logging.getLogger(__name__)
_GOODBYE = {"goodbye": True}


def serve(workdir: str, blob_limit_bytes: int) -> None:
    """Answer requests until stdin ends or ``shutdown`` comes; no worker outlives this call.

    Args:
        workdir: the agent's folder; made where it is not there.
        blob_limit_bytes: what the blobs may take on disk.

    Raises:
        OSError: the workdir cannot be used.
    """
    wire_in, wire_out = stdio.claim_stdin(), stdio.claim_stdout()
    workdir = os.path.abspath(workdir)
    blobs, supervisor = BlobStore(workdir, blob_limit_bytes), Supervisor()
    lock, clocks = BoardLock(), Clocks(workdir)
    blobs.open()
    _at_signals(_leave)
    try:
        requests = _read_in_background(wire_in, supervisor)
        Session(Methods(workdir, blobs, supervisor, lock, clocks).table()).answer_all(requests, wire_out)
    except BrokenPipeError:
        _LOG.warning("the host is gone")
    finally:
        _at_signals(_stay)
        supervisor.close()
        _put_back(clocks)
        blobs.close()
        lock.release()


def _at_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _leave(number: int, _frame: Any) -> None:
    """End as at the end of stdin."""
    raise SystemExit(128 + number)


def _stay(_number: int, _frame: Any) -> None:
    """Let nothing but SIGKILL disturb the end. Ignored signals would be inherited by what is started there."""


def _put_back(clocks: Clocks) -> None:
    # Only what this session has changed: what another has left is put back where somebody can be told of it.
    if not clocks.are_left_over:
        for problem in clocks.restore():
            _LOG.warning("%s", problem)


class Session(object):
    """One host's conversation: nothing but a good ``hello`` is served first."""

    def __init__(self, methods: Dict[str, Method]) -> None:
        self._methods = methods
        self._greeted = False

    def answer_all(self, requests: "queue.Queue[Optional[bytes]]", wire_out: BinaryIO) -> None:
        """Answer one line after the other until None or ``shutdown``."""
        for line in iter(requests.get, None):
            reply = self.answer(line)
            wire_out.write(_encoded(reply))
            wire_out.flush()
            if reply.get("result") == _GOODBYE:
                return

    def answer(self, line: bytes) -> Dict[str, Any]:
        """Return the reply to one line; raises nothing, for the next request must be served."""
        request_id: Optional[int] = None
        try:
            request = _parse(line)
            request_id = wire.field(request, "id", int)
            params = wire.field(request, "params", dict) if "params" in request else {}
            return {"id": request_id, "ok": True, "result": self._call(wire.field(request, "method", str), params)}
        except Exception as error:  # noqa: BLE001 - a bug in one method must not end the session
            return {"id": request_id, "ok": False, "error": _failure(error).to_wire()}

    def _call(self, name: str, params: Dict[str, Any]) -> Any:
        if not self._greeted:
            require_protocol(params if name == wire.HELLO else {})
            self._greeted = True
        if name == wire.SHUTDOWN:
            return _GOODBYE
        if name not in self._methods:
            known = ", ".join(sorted([wire.SHUTDOWN] + list(self._methods)))
            raise wire.WireError("no method %r; known: %s" % (name, known))
        return wire.to_wire(self._methods[name](params))


def _read_in_background(source: BinaryIO, supervisor: Supervisor) -> "queue.Queue[Optional[bytes]]":
    """Read lines in a thread, so that the end of stdin (the host is gone) stops a measurement that is under way."""
    requests: "queue.Queue[Optional[bytes]]" = queue.Queue()

    def read() -> None:
        for line in iter(lambda: source.readline(wire.MAX_LINE_BYTES + 1), b""):
            requests.put(line)
            while not line.endswith(b"\n") and line:
                # The rest of a line that is too long; its head alone is answered.
                line = source.readline(wire.MAX_LINE_BYTES)
        requests.put(None)
        supervisor.close()

    threading.Thread(target=read, daemon=True).start()
    return requests


def _parse(line: bytes) -> Dict[str, Any]:
    if len(line) > wire.MAX_LINE_BYTES:
        raise wire.WireError("a line of more than %d bytes" % wire.MAX_LINE_BYTES)
    return wire.decode(line)


def _failure(error: Exception) -> wire.AgentFailure:
    if isinstance(error, wire.AgentFailure):
        return error
    if isinstance(error, wire.WireError):
        return wire.AgentFailure(wire.BAD_REQUEST, str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return wire.AgentFailure(wire.DISK_FULL, "no space left on the board: %s" % error, "free some space there")
    _LOG.error("a request failed", exc_info=error)
    return wire.AgentFailure(wire.AGENT_ERROR, "%s: %s" % (type(error).__name__, error), "see the agent's stderr")


def _encoded(reply: Dict[str, Any]) -> bytes:
    line = wire.encode(reply)
    if len(line) <= wire.MAX_LINE_BYTES:
        return line
    message = "the result takes %d bytes, a line at most %d" % (len(line), wire.MAX_LINE_BYTES)
    failure = wire.AgentFailure(wire.BAD_REQUEST, message, "ask for fewer inputs at a time")
    return wire.encode({"id": reply["id"], "ok": False, "error": failure.to_wire()})
