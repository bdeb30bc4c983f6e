"""One session measures on a board at a time: a file that the kernel locks, with its holder's name inside.

The kernel frees the lock when the holder's process ends, however it ends. The text inside is for people, and for a host
that lost its connection and comes back; whether the board is free, the lock alone decides.
"""

import contextlib
import fcntl
import os
import signal
import time
from typing import Callable, Iterator, Optional

from scbp_agent import wire

FILE_NAME = "board.lock"
# Somebody who only looks holds the file for an instant, and must not make a taker believe that the board is in use.
_PATIENCE_S = 0.25
# What the agent of a lost connection may take to put the clocks back before it is killed.
_PREDECESSOR_S = 45.0
_POLL_S = 0.02


class BoardLock(object):
    """The lock of the board that a workdir belongs to.

    Args:
        workdir: the agent's folder; sessions that share it exclude each other.
    """

    def __init__(self, workdir: str) -> None:
        self._path = os.path.join(workdir, FILE_NAME)
        self._descriptor: Optional[int] = None
        self._lent = False

    def take(self, claim: wire.LockClaim) -> None:
        """Take the lock, unless this session has it or its lender does; raises BOARD_BUSY naming the holder."""
        if self._descriptor is not None or self._lent:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _until(_PATIENCE_S, lambda: _locked(descriptor, fcntl.LOCK_EX)):
                self._lent = self._enter_beside(descriptor, claim)
            if not self._lent:
                _write(descriptor, claim)
                self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    @contextlib.contextmanager
    def briefly(self, purpose: str) -> Iterator[bool]:
        """Have the lock for a moment, where it is free or ours already; gives whether that is so."""
        had = self._descriptor is not None or self._lent
        try:
            self.take(wire.LockClaim("the agent", os.getpid(), purpose, str(os.getpid()), None))
            taken = True
        except wire.AgentFailure:
            taken = False
        try:
            yield taken
        finally:
            if not had:
                self.release()

    def release(self) -> None:
        """Give the lock back; the end of the process does it as well."""
        self._lent = False
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Optional[wire.LockHolder]:
        """Return who has the board now, this session or another; None where it is free, or nobody's name is inside."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except OSError:
            return None
        try:
            return None if _locked(descriptor, fcntl.LOCK_SH) else _read(descriptor)
        finally:
            os.close(descriptor)

    def _enter_beside(self, descriptor: int, claim: wire.LockClaim) -> bool:
        """Come to terms with the holder: True where it lends us the board, False where the lock is ours now."""
        holder = _read(descriptor)
        if holder is not None and holder.session == claim.lent:
            return True
        if holder is None or holder.session != claim.session or not _replaced(holder, descriptor):
            raise _busy(holder)
        return False


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(patience_s: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def _replaced(holder: wire.LockHolder, descriptor: int) -> bool:
    """End the agent that this same host has lost its connection to; it may not notice by itself for hours."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _has_open(holder.agent_pid, descriptor):
            os.kill(holder.agent_pid, number)
        if _until(_PREDECESSOR_S, lambda: _locked(descriptor, fcntl.LOCK_EX)):
            return True
    return False


def _has_open(pid: int, descriptor: int) -> bool:
    """Tell whether a process has this file open: its number may be another's by now, or of another container."""
    ours, folder = os.fstat(descriptor), "/proc/%d/fd" % pid
    try:
        return any(os.path.samestat(ours, os.stat(os.path.join(folder, name))) for name in os.listdir(folder))
    except OSError:
        return False


def _write(descriptor: int, claim: wire.LockClaim) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = wire.LockHolder(claim.owner, claim.pid, claim.purpose, claim.session, since, os.getpid())
    text = wire.encode(wire.to_wire(holder))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def _read(descriptor: int) -> Optional[wire.LockHolder]:
    try:
        return wire.lock_holder(wire.decode(os.pread(descriptor, 4096, 0)))
    except wire.WireError:
        # Taken this very moment, or by something that is not ours.
        return None


def _busy(holder: Optional[wire.LockHolder]) -> wire.AgentFailure:
    who = "somebody"
    if holder is not None:
        who = "%s (process %d there) since %s: %s" % (holder.owner, holder.pid, holder.since, holder.purpose)
    hint = "try again later, or wait for it: --wait 600"
    return wire.AgentFailure(wire.BOARD_BUSY, "the board is in use by %s" % who, hint, transient=True)
