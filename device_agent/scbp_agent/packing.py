"""Reading a packed blob without trusting it: bounded while it unpacks, hashed before anyone uses it."""

import hashlib
from typing import BinaryIO, Iterator

from scbp_agent import wire

_CHUNK_BYTES = 1024 * 1024
# xz -9 needs 65 MiB to unpack; a stream that asks for more is not ours.
_XZ_MEMORY_LIMIT_BYTES = 96 * 1024 * 1024


def verified_chunks(path: str, encoding: str, sha256: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield the unpacked content; the hash is checked after the last chunk, so consume all before any use.

    Args:
        path: the packed file.
        encoding: ``raw`` or ``xz``.
        sha256: of the unpacked content.
        limit_bytes: unpacked bytes at most; not one byte more is yielded.

    Raises:
        AgentFailure: HASH_MISMATCH for content that is too long, damaged, or not what the hash says.
    """
    digest, total = hashlib.sha256(), 0
    with open(path, "rb") as source:
        for chunk in _unpack(source, encoding):
            total += len(chunk)
            if total > limit_bytes:
                raise _mismatch("unpacks to more than the %d bytes announced" % limit_bytes, transient=False)
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != sha256:
        raise _mismatch("content hashes to %s, announced was %s" % (digest.hexdigest(), sha256))


def _unpack(source: BinaryIO, encoding: str) -> Iterator[bytes]:
    return _xz_chunks(source) if encoding == wire.XZ else iter(lambda: source.read(_CHUNK_BYTES), b"")


def _xz_chunks(source: BinaryIO) -> Iterator[bytes]:
    try:
        import lzma
    except ImportError:
        # A Python that somebody built without liblzma's headers; hello's "encodings" says so too.
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, "this Python has no lzma module", "send the blob as raw")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LIMIT_BYTES)
    while not decompressor.eof:
        packed = source.read(_CHUNK_BYTES) if decompressor.needs_input else b""
        if decompressor.needs_input and not packed:
            raise _mismatch("the xz stream ends too early")
        try:
            # Bounded output: a bomb costs one chunk of memory, not what it unpacks to.
            yield decompressor.decompress(packed, _CHUNK_BYTES)
        except lzma.LZMAError as error:
            raise _mismatch("not a sound xz stream (%s)" % error)
    if decompressor.unused_data or source.read(1):
        raise _mismatch("something follows the end of the xz stream", transient=False)


def _mismatch(what: str, transient: bool = True) -> wire.AgentFailure:
    hint = "send the blob again" if transient else "the sender packed or announced it wrongly"
    return wire.AgentFailure(wire.HASH_MISMATCH, "blob refused: " + what, hint, transient)
