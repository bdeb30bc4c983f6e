"""Blobs on the board: kept packed, named by the hash of their unpacked content, bounded in number of bytes.

::

    workdir/
      incoming/                  uploads; the host's transport writes here, nobody else reads them
      blobs/<sha256>.<raw|xz>    verified and on disk for good (fsync), until they are the longest unused
      scratch/<pid>/             unpacked for one measurement, then deleted
"""

import contextlib
import os
import re
import shutil
import time
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from scbp_agent import wire
from scbp_agent.durable import remove, sync
from scbp_agent.packing import verified_chunks

DEFAULT_LIMIT_BYTES = 4 * 1024**3
# Left to the rest of the board: an SD card filled to the last byte breaks more than this agent.
DISK_RESERVE_BYTES = 64 * 1024**2
_STALE_UPLOAD_S = 24 * 3600.0
_UPLOAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

_BLOB_NAME = re.compile(r"[0-9a-f]{64}\.(?:raw|xz)")

_Signature = Tuple[int, int, int, int]
_Blob = NamedTuple("_Blob", [("path", str), ("encoding", str), ("size_bytes", int), ("used_ns", int)])


class BlobStore(object):
    """The blobs of one workdir.

    Args:
        workdir: an absolute path; its folders are made by :meth:`open`.
        limit_bytes: what ``blobs/`` may hold, packed. Beyond it the longest unused go.

    Attributes:
        scratch: this session's folder; gone when the session ends.
    """

    def __init__(self, workdir: str, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._incoming = os.path.join(workdir, "incoming")
        self._blobs = os.path.join(workdir, "blobs")
        self._scratch_root = os.path.join(workdir, "scratch")
        self.scratch = os.path.join(self._scratch_root, str(os.getpid()))
        self._limit_bytes = limit_bytes
        # Inode, size and times of each raw blob as this session hashed it: until they change it is not hashed again.
        self._hashed: Dict[str, _Signature] = {}

    def open(self) -> None:
        """Make the folders, and sweep out what sessions that died have left."""
        for folder in (self._incoming, self._blobs, self.scratch):
            os.makedirs(folder, exist_ok=True)
        for name in os.listdir(self._scratch_root):
            if not _is_running(name):
                shutil.rmtree(os.path.join(self._scratch_root, name), ignore_errors=True)
        for entry in list(os.scandir(self._incoming)):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_UPLOAD_S:
                remove(entry.path)

    def close(self) -> None:
        """Delete this session's scratch."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def missing(self, hashes: List[str]) -> List[str]:
        """Return those of ``hashes`` that are not here; those that are count as used just now."""
        return [sha256 for sha256 in hashes if self._find(sha256) is None]

    def admit(self, upload: str, sha256: str, encoding: str, size_bytes: int) -> int:
        """Verify an upload and make it a blob.

        Args:
            upload: its bare file name in ``incoming/``.
            sha256: of the unpacked content.
            encoding: ``raw`` or ``xz``.
            size_bytes: of the unpacked content.

        Returns:
            The bytes it takes on disk.

        Raises:
            AgentFailure: BAD_REQUEST, HASH_MISMATCH or DISK_FULL; the upload is deleted and no blob is left.
        """
        path = self._upload_path(upload)
        try:
            if encoding not in (wire.RAW, wire.XZ):
                raise wire.AgentFailure(wire.BAD_REQUEST, "encoding: expected raw or xz, got %r" % encoding)
            self._make_room(size_bytes)
            _verify(path, encoding, sha256, size_bytes)
            stored = self._keep(path, encoding, sha256)
        finally:
            remove(path)
        self._evict(self._limit_bytes, keep=sha256)
        return stored

    @contextlib.contextmanager
    def unpacked(self, sha256: str) -> Iterator[str]:
        """Give the path of the unpacked content for as long as the block lasts.

        It is hashed once more, except for a raw blob that nobody touched since this session hashed it.

        Raises:
            AgentFailure: BLOB_MISSING, or HASH_MISMATCH where the disk has damaged it (it is deleted then).
        """
        blob = self._find(sha256)
        if blob is None:
            message = "blob %s is not on this board" % sha256
            raise wire.AgentFailure(wire.BLOB_MISSING, message, "send it with admit", transient=True)
        path = blob.path if blob.encoding == wire.RAW else os.path.join(self.scratch, sha256)
        try:
            if blob.path not in self._hashed:
                self._unpack(blob, sha256, path)
            yield path
        finally:
            if path != blob.path:
                remove(path)

    def _unpack(self, blob: _Blob, sha256: str, path: str) -> None:
        # The announced size is not kept: the hash decides, and the free space bounds what a damaged file may write.
        room = max(self._free_bytes() - DISK_RESERVE_BYTES, blob.size_bytes)
        # A raw blob is used in place, and only needs to be read through, once.
        in_place = path == blob.path
        target, before = os.devnull if in_place else path, _signature(blob.path)
        try:
            with open(target, "wb") as unpacked:
                for chunk in verified_chunks(blob.path, blob.encoding, sha256, room):
                    unpacked.write(chunk)
            if in_place:
                self._hashed[path] = before
        except wire.AgentFailure as failure:
            if failure.kind == wire.HASH_MISMATCH:
                remove(blob.path)
            raise

    def _upload_path(self, upload: str) -> str:
        path = os.path.join(self._incoming, upload)
        if not _UPLOAD_NAME.fullmatch(upload):
            raise wire.AgentFailure(wire.BAD_REQUEST, "upload: expected a bare file name, got %r" % upload[:200])
        if os.path.islink(path) or not os.path.isfile(path):
            raise wire.AgentFailure(wire.BAD_REQUEST, "upload %r is not a file in incoming/" % upload)
        return path

    def _keep(self, path: str, encoding: str, sha256: str) -> int:
        target = os.path.join(self._blobs, "%s.%s" % (sha256, encoding))
        sync(path)
        os.replace(path, target)
        sync(self._blobs)
        other = wire.RAW if encoding == wire.XZ else wire.XZ
        remove(os.path.join(self._blobs, "%s.%s" % (sha256, other)))
        os.utime(target)
        return os.stat(target).st_size

    def _find(self, sha256: str) -> Optional[_Blob]:
        for encoding in (wire.XZ, wire.RAW):
            path = os.path.join(self._blobs, "%s.%s" % (sha256, encoding))
            if os.path.isfile(path):
                self._touch(path)
                return _blob(path)
        return None

    def _touch(self, path: str) -> None:
        """Note the time of last use: boards mount with noatime, so it is the file's mtime."""
        unchanged = self._hashed.pop(path, None) == _signature(path)
        # The kernel's own stamps move in ticks of milliseconds: after this one, any write leaves another.
        now_ns = int(time.time() * 1e9)
        os.utime(path, ns=(now_ns, now_ns))
        if unchanged:
            self._hashed[path] = _signature(path)

    def _all(self) -> List[_Blob]:
        names = filter(_BLOB_NAME.fullmatch, os.listdir(self._blobs))
        blobs = [_blob(os.path.join(self._blobs, name)) for name in names]
        return sorted(blobs, key=lambda blob: blob.used_ns)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._blobs).free

    def _make_room(self, size_bytes: int) -> None:
        """Evict until ``size_bytes`` can be unpacked, but nothing at all where that cannot succeed."""
        held = sum(blob.size_bytes for blob in self._all())
        lacking = size_bytes + DISK_RESERVE_BYTES - self._free_bytes()
        if size_bytes > self._limit_bytes or lacking > held:
            room = "%d bytes free, at most %d for one blob" % (self._free_bytes(), self._limit_bytes)
            message = "no room for a blob of %d bytes: %s" % (size_bytes, room)
            raise wire.AgentFailure(wire.DISK_FULL, message, "free some space on the board")
        if lacking > 0:
            self._evict(held - lacking)

    def _evict(self, limit_bytes: int, keep: str = "") -> None:
        blobs = self._all()
        held = sum(blob.size_bytes for blob in blobs)
        for blob in blobs:
            if held > limit_bytes and not (keep and os.path.basename(blob.path).startswith(keep)):
                remove(blob.path)
                held -= blob.size_bytes


def _signature(path: str) -> _Signature:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _blob(path: str) -> _Blob:
    status = os.stat(path)
    return _Blob(path, path.rsplit(".", 1)[1], status.st_size, status.st_mtime_ns)


def _verify(path: str, encoding: str, sha256: str, size_bytes: int) -> None:
    unpacked_bytes = sum(len(chunk) for chunk in verified_chunks(path, encoding, sha256, size_bytes))
    if unpacked_bytes != size_bytes:
        message = "blob refused: unpacks to %d bytes, announced were %d" % (unpacked_bytes, size_bytes)
        raise wire.AgentFailure(wire.HASH_MISMATCH, message, "the sender announced it wrongly")


def _is_running(pid: str) -> bool:
    return os.path.exists(os.path.join("/proc", pid))
