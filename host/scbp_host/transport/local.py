"""The device is this machine: files are copied, the agent is a child process."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceProfile
from scbp_host.errors import DeviceError, DeviceUnreachable
from scbp_host.transport.base import probe_hint
from scbp_host.transport.streams import StreamChannel, within

# An agent ends by itself when its stdin does; this is how long it may take.
_GRACE_S = 3.0
# And this where it has clocks to put back: SIGTERM ends everything else.
_LAST_GRACE_S = 60.0


class LocalTransport:
    """See :class:`scbp_host.transport.base.Transport`; the login folder is the user's home."""

    def __init__(self, profile: DeviceProfile) -> None:
        self._device = profile.name
        self._channels: list[StreamChannel] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, content: bytes | Path, path: str, deadline: Deadline) -> None:
        """Write a file, all of it or nothing."""
        target = Path.home() / path
        try:
            within(deadline, self._device, f"writing {path}", lambda: _write_atomically(content, target))
        except OSError as error:
            hint = "check permissions and free space there"
            raise DeviceError(f"{self._device}: cannot write {path}: {error.strerror or error}", hint) from error

    def open_channel(self, argv: Sequence[str], deadline: Deadline) -> StreamChannel:
        """Start a child process in a process group of its own."""
        try:
            # Of its own, so that Ctrl-C at the terminal reaches the host alone, and close() reaches all of it.
            process = subprocess.Popen(
                argv,
                bufsize=0,
                cwd=Path.home(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            message = f"{self._device}: cannot start {argv[0]}: {error.strerror}"
            raise DeviceUnreachable(message, probe_hint(self._device)) from error
        channel = _process_channel(self._device, process)
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        """End every process that was started."""
        while self._channels:
            self._channels.pop().close()


def _process_channel(device: str, process: subprocess.Popen[bytes]) -> StreamChannel:
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None
    assert stdout is not None
    assert stderr is not None
    return StreamChannel(
        device,
        lambda line: _write_all(stdin, line),
        stdout.read,
        stderr.read,
        lambda: _end(process),
    )


def _write_all(stream: IO[bytes], data: bytes) -> None:
    # Unbuffered, so that close() never waits for a writer that is stuck; such a stream may write a part only.
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _end(process: subprocess.Popen[bytes]) -> None:
    _close(process.stdin)
    for grace_s, number in ((_GRACE_S, signal.SIGTERM), (_LAST_GRACE_S, signal.SIGKILL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait()
    _close(process.stdout)
    _close(process.stderr)


def _close(stream: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        if stream is not None:
            stream.close()


def _write_atomically(content: bytes | Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as sink, content.open("rb") if isinstance(content, Path) else BytesIO(content) as source:
            shutil.copyfileobj(source, sink)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
