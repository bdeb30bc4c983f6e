"""A channel over three blocking calls, with deadlines of our own.

Neither pipes nor paramiko's channels time out reliably (a channel timeout is not a socket timeout), so blocking calls
run in daemon threads, and whoever waits for them waits on a queue, with a deadline.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from scbp_agent.wire import MAX_LINE_BYTES
from scbp_host.domain.deadline import Deadline
from scbp_host.errors import DeviceTimeout, DeviceUnreachable, ProtocolError
from scbp_host.transport.base import probe_hint

T = TypeVar("T")

_READ_BYTES = 64 * 1024
_TAIL_BYTES = 16 * 1024
# How long the last words of a process may take from its end to our reader.
_LAST_WORDS_S = 2.0
# A message is one line that a terminal shows well.
_LAST_WORDS_CHARS = 300


def within(deadline: Deadline, device: str, doing: str, call: Callable[[], T]) -> T:
    """Return ``call()``, or give up on it at the deadline.

    Args:
        deadline: when to give up; the call itself goes on until its connection is closed, which is the caller's part.
        device: the device's name, for the message.
        doing: what is being done, e.g. ``connecting``.
        call: the blocking call.

    Raises:
        DeviceTimeout: the call did not return in time.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name=f"scbp {doing}", daemon=True).start()
    if not wait([future], deadline.remaining_s()).done:
        raise DeviceTimeout(f"{device}: {doing} took more than {deadline.limit_s:g} s", probe_hint(device))
    return future.result()


class StreamChannel:
    """The Channel protocol over blocking reads and writes.

    Args:
        device: the device's name, for messages.
        write: writes all of its argument.
        read: returns at most so many bytes of stdout, at least one; empty at the end.
        read_stderr: the same for stderr.
        close: ends the process, and thereby the reads; called once.
    """

    def __init__(
        self,
        device: str,
        write: Callable[[bytes], None],
        read: Callable[[int], bytes],
        read_stderr: Callable[[int], bytes],
        close: Callable[[], None],
    ) -> None:
        self._device = device
        self._write = write
        self._close = close
        self._closed = False
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._too_long = False
        self._tail = bytearray()
        threading.Thread(target=self._read_lines, args=(read,), name=f"{device} stdout", daemon=True).start()
        self._stderr = threading.Thread(
            target=self._read_tail, args=(read_stderr,), name=f"{device} stderr", daemon=True
        )
        self._stderr.start()

    def send(self, line: bytes, deadline: Deadline) -> None:
        """Write one line; see :class:`scbp_host.transport.base.Channel`."""
        try:
            within(deadline, self._device, "sending a request", lambda: self._write(line))
        except (OSError, EOFError) as error:
            raise self._lost() from error

    def receive(self, deadline: Deadline) -> bytes:
        """Return the next line; see :class:`scbp_host.transport.base.Channel`."""
        try:
            line = self._lines.get(timeout=deadline.remaining_s())
        except queue.Empty:
            message = f"{self._device}: no answer within {deadline.limit_s:g} s{self._last_words()}"
            raise DeviceTimeout(message, probe_hint(self._device)) from None
        if line is not None:
            return line
        self._lines.put(None)  # whoever asks again hears the same
        if self._too_long:
            raise ProtocolError(f"{self._device}: the agent sent a line of more than {MAX_LINE_BYTES} bytes")
        raise self._lost()

    def stderr_tail(self) -> str:
        """Return the end of stderr."""
        return self._tail.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End the process."""
        if not self._closed:
            self._closed = True
            self._close()

    def _lost(self) -> DeviceUnreachable:
        self._stderr.join(_LAST_WORDS_S)
        return DeviceUnreachable(f"{self._device}: the agent is gone{self._last_words()}", probe_hint(self._device))

    def _last_words(self) -> str:
        lines = self.stderr_tail().splitlines()
        return f"; its last words: {lines[-1].strip()[-_LAST_WORDS_CHARS:]}" if lines else ""

    def _read_lines(self, read: Callable[[int], bytes]) -> None:
        parts: list[bytes] = []
        while chunk := _read_or_end(read):
            *finished, rest = chunk.split(b"\n")
            for piece in finished:
                self._lines.put(b"".join([*parts, piece]))
                parts = []
            parts.append(rest)
            if sum(map(len, parts)) > MAX_LINE_BYTES:
                self._too_long = True
                break
        self._lines.put(None)

    def _read_tail(self, read: Callable[[int], bytes]) -> None:
        while chunk := _read_or_end(read):
            self._tail += chunk
            del self._tail[:-_TAIL_BYTES]


def _read_or_end(read: Callable[[int], bytes]) -> bytes:
    try:
        return read(_READ_BYTES)
    except (OSError, EOFError, ValueError):
        return b""  # closed under the reader, by us or by the other side
