"""Engines built on this board, kept for the next time: found by everything they depend on, verified before use.

::

    <folder>/
      <key>.engine     what the runtime built
      <key>.json       its hash, what building took, and in words what the key is made of
      <name>.timing    what a builder timed, shared by all models (:meth:`EngineCache.timing`)
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

from scbp_agent import wire
from scbp_agent.blobs import DISK_RESERVE_BYTES
from scbp_agent.durable import remove

DEFAULT_LIMIT_BYTES = 2 * 1024**3
_CHUNK_BYTES = 1024 * 1024

Engine = NamedTuple("Engine", [("path", str), ("build_ns", int), ("notes", List[str])])
Engine.__doc__ = """An engine in the cache, what building it took, and what was worth saying then."""


class EngineCache(object):
    """The engines of one board.

    Args:
        folder: made where it is not there.
        limit_bytes: what the engines may take; beyond it the longest unused go.

    Raises:
        AgentFailure: DISK_FULL, from any method that writes.
    """

    def __init__(self, folder: str, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        os.makedirs(folder, exist_ok=True)

    def find(self, facts: Dict[str, Any]) -> Optional[Engine]:
        """Return the engine that was built under these facts; one that is damaged is deleted, and None."""
        path, about = self._paths(facts)
        try:
            with open(about, "rb") as source:
                said = json.loads(source.read().decode("utf-8"))
            if said["facts"] == facts and said["sha256"] == file_sha256(path):
                # Boards mount with noatime, so the time of last use is the file's mtime, set here.
                os.utime(path)
                return Engine(path, int(said["build_ns"]), [str(note) for note in said["notes"]])
        except (OSError, ValueError, KeyError, TypeError):
            # Not there, half written by a board that lost its power, or changed since: all the same.
            pass
        remove(path)
        remove(about)
        return None

    def keep(self, facts: Dict[str, Any], content: bytes, build_ns: int, notes: List[str]) -> Engine:
        """Write an engine to disk for good, and return it; the longest unused make room for it."""
        path, about = self._paths(facts)
        self._evict(self._limit_bytes - len(content), replaced=path)
        said = {"facts": facts, "sha256": hashlib.sha256(content).hexdigest(), "build_ns": build_ns, "notes": notes}
        self._write(path, content)
        # The engine first: without these words it is none.
        self._write(about, json.dumps(said, sort_keys=True, indent=1).encode("utf-8"))
        return Engine(path, build_ns, notes)

    def require_room(self, size_bytes: int) -> None:
        """Make room before a build of many minutes finds that there is none; raises DISK_FULL."""
        free = shutil.disk_usage(self._folder).free
        if free - DISK_RESERVE_BYTES < size_bytes:
            self._evict(max(0, self._held_bytes() - (size_bytes + DISK_RESERVE_BYTES - free)))
            free = shutil.disk_usage(self._folder).free
        if free - DISK_RESERVE_BYTES < size_bytes:
            raise _disk_full("an engine of about %d bytes finds %d bytes free" % (size_bytes, free))

    def timing(self, name: str) -> bytes:
        """Return what builders of this name have timed so far; empty where none has."""
        try:
            with open(self._timing_path(name), "rb") as source:
                return source.read()
        except OSError:
            return b""

    def keep_timing(self, name: str, content: bytes) -> None:
        """Replace what builders of this name have timed."""
        self._write(self._timing_path(name), content)

    def _timing_path(self, name: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(name.encode("utf-8")).hexdigest()[:32] + ".timing")

    def _paths(self, facts: Dict[str, Any]) -> List[str]:
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()
        return [os.path.join(self._folder, key + ending) for ending in (".engine", ".json")]

    def _engines(self) -> List[str]:
        """The engines' paths, the longest unused first."""
        paths = [os.path.join(self._folder, name) for name in os.listdir(self._folder) if name.endswith(".engine")]
        return sorted(paths, key=lambda path: os.stat(path).st_mtime_ns)

    def _held_bytes(self) -> int:
        return sum(os.stat(path).st_size for path in self._engines())

    def _evict(self, limit_bytes: int, replaced: str = "") -> None:
        held = {path: os.stat(path).st_size for path in self._engines() if path != replaced}
        left = sum(held.values())
        for path, size_bytes in held.items():
            if left > limit_bytes:
                left -= size_bytes
                remove(path)
                remove(path[: -len(".engine")] + ".json")

    def _write(self, path: str, content: bytes) -> None:
        """Write beside and rename: nobody ever reads half a file, also after a power cut."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="new-", delete=False) as target:
                try:
                    target.write(content)
                    target.flush()
                    os.fsync(target.fileno())
                    os.replace(target.name, path)
                except BaseException:
                    remove(target.name)
                    raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(str(error))
            raise


def file_sha256(path: str) -> str:
    """Return the hash of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        for chunk in iter(lambda: source.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _disk_full(what: str) -> wire.AgentFailure:
    return wire.AgentFailure(wire.DISK_FULL, "no room on the board: " + what, "free some space on the board")
