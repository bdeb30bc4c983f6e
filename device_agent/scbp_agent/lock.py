"""One session measures on a board at a time: a file that the kernel locks, with its holder's name inside.

All users of the board meet at one file. The kernel frees the lock when the holder's process ends, however it ends. The
text inside is for people, and for a host that lost its connection and comes back; whether the board is free, the lock
alone decides.
"""

import contextlib
import fcntl
import logging
import os
import signal
import stat
import time
from typing import Callable, Iterator, Optional

from scbp_agent import wire

_LOG = logging.getLogger(__name__)
FILE_NAME = "scbp-board.lock"
# For tests, which run side by side on one machine and must not wait for each other.
FOLDER_VARIABLE = "SCBP_LOCK_FOLDER"
_FOLDERS = ("/run/lock", "/tmp")  # noqa: S108 - opened so that no other user can make it another file
# Everybody may name himself in it: whose the file is, is whoever came first.
_MODE = 0o666
# In turn, until one works. To ask for O_CREAT where another user's file is there already is forbidden in folders that
# everybody writes to (fs.protected_regular), so it is asked for new files alone; and flock needs no right to write.
_WAYS_TO_OPEN = (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR, os.O_RDONLY)
# Nobody can have us open another file through a link, or wait at a pipe.
_ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK
# Somebody who only looks holds the file for an instant, and must not make a taker believe that the board is in use.
_PATIENCE_S = 0.25
# What the agent of a lost connection may take to put the clocks back before it is killed.
_PREDECESSOR_S = 45.0
_POLL_S = 0.02


class BoardLock(object):
    """The lock of the board that this process runs on, one for all of its users."""

    def __init__(self) -> None:
        self._path = os.path.join(_folder(), FILE_NAME)
        self._descriptor: Optional[int] = None
        self._ours: Optional[wire.LockHolder] = None
        self._lent = False

    def take(self, claim: wire.LockClaim) -> None:
        """Take the lock, unless this session has it or its lender does.

        Raises:
            AgentFailure: BOARD_BUSY naming the holder; AGENT_ERROR where the place of the file cannot be used.
        """
        if self._descriptor is not None or self._lent:
            return
        descriptor = _open(self._path)
        try:
            if not _until(_PATIENCE_S, lambda: _locked(descriptor, fcntl.LOCK_EX)):
                self._lent = self._enter_beside(descriptor, claim)
            if not self._lent:
                self._ours = _signed(descriptor, claim)
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
            self._descriptor = self._ours = None

    def holder(self) -> Optional[wire.LockHolder]:
        """Return who has the board now, this session or another; None where it is free, or nobody's name is inside."""
        if self._ours is not None:
            return self._ours
        try:
            descriptor = os.open(self._path, os.O_RDONLY | _ALWAYS)
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


def _folder() -> str:
    """Return where every user may make a file and none may remove another's: for all of them the same."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return chosen or next((folder for folder in _FOLDERS if _is_everybodys(folder)), _FOLDERS[-1])


def _is_everybodys(folder: str) -> bool:
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH and mode & stat.S_ISVTX)


def _open(path: str) -> int:
    """Open the file of all users, or make it; raises AGENT_ERROR for anything else in its place."""
    for way in _WAYS_TO_OPEN:
        try:
            return _checked(os.open(path, way | _ALWAYS, _MODE), made=bool(way & os.O_CREAT))
        except (FileNotFoundError, FileExistsError, PermissionError) as error:
            last: OSError = error
        except OSError as error:
            last = error
            break
    hint = "it must be a plain file that everybody may read: remove what is there"
    raise wire.AgentFailure(wire.AGENT_ERROR, "the board's lock cannot be used: %s" % last, hint)


def _checked(descriptor: int, made: bool) -> int:
    try:
        found = os.fstat(descriptor)
        # A second name of somebody's file would have us write into that.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError("%r is no plain file" % FILE_NAME)
        if made:
            # As it was asked for, whatever this user's umask is.
            os.fchmod(descriptor, _MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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


def _signed(descriptor: int, claim: wire.LockClaim) -> wire.LockHolder:
    """Write who has the board now, and return it."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = wire.LockHolder(claim.owner, claim.pid, claim.purpose, claim.session, since, os.getpid())
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, wire.encode(wire.to_wire(holder)), 0)
    except OSError as error:
        # Another user's file that is closed to us (EBADF, EINVAL: it is open for reading), or a full disk (ENOSPC).
        _LOG.warning("the board is ours, but others cannot read by whom it is used: %s", error)
    return holder


def _read(descriptor: int) -> Optional[wire.LockHolder]:
    try:
        holder = wire.lock_holder(wire.decode(os.pread(descriptor, 4096, 0)))
    except (wire.WireError, RecursionError):
        # Taken this very moment, or by something that is not ours, such as a thousand brackets.
        return None
    # Anybody can have written it, and it is shown on terminals.
    return holder._replace(
        owner=_printable(holder.owner), purpose=_printable(holder.purpose), since=_printable(holder.since)
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _busy(holder: Optional[wire.LockHolder]) -> wire.AgentFailure:
    who = "somebody"
    if holder is not None:
        who = "%s (process %d there) since %s: %s" % (holder.owner, holder.pid, holder.since, holder.purpose)
    hint = "try again later, or wait for it: --wait 600"
    return wire.AgentFailure(wire.BOARD_BUSY, "the board is in use by %s" % who, hint, transient=True)
