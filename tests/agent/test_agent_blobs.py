from __future__ import annotations

import hashlib
import lzma
import os
import time
from pathlib import Path

import pytest

from scbp_agent import blobs, wire
from scbp_agent.blobs import BlobStore


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def store(tmp_path):
    opened = BlobStore(str(tmp_path), limit_bytes=10_000)
    opened.open()
    yield opened
    opened.close()


def admit(store, tmp_path, content, packed=None, encoding=wire.RAW, **changes):
    (tmp_path / "incoming" / "up").write_bytes(content if packed is None else packed)
    announced = {"upload": "up", "sha256": sha(content), "encoding": encoding, "size_bytes": len(content), **changes}
    return store.admit(**announced)


def leftovers(tmp_path):
    return [path for folder in ("incoming", "blobs", "scratch") for path in (tmp_path / folder).rglob("*.*")]


@pytest.mark.parametrize("encoding", [wire.RAW, wire.XZ])
def test_admitted_blob_is_had_and_stays_packed(agent, encoding):
    content = b"tile" * 100_000
    sha256 = agent.put(content, encoding)
    assert agent.result(wire.HAVE, sha256=[sha256, sha(b"other")]) == {"missing": [sha(b"other")]}
    assert agent.blob_names() == [f"{sha256}.{encoding}"]
    stored = (agent.workdir / "blobs" / f"{sha256}.{encoding}").stat().st_size
    assert stored == len(content) if encoding == wire.RAW else stored < 1000
    assert agent.incoming_names() == []


@pytest.mark.parametrize("encoding", [wire.RAW, wire.XZ])
def test_unpacked_gives_the_content_and_cleans_up(store, tmp_path, encoding):
    content = os.urandom(5000)
    packed = lzma.compress(content) if encoding == wire.XZ else content
    assert admit(store, tmp_path, content, packed, encoding) == len(packed)
    with store.unpacked(sha(content)) as path:
        assert Path(path).read_bytes() == content
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    assert store.missing([sha(content)]) == []


def test_wrong_hash_leaves_nothing_and_is_worth_another_try(agent):
    agent.upload("up", b"damaged on the way")
    wanted = sha(b"what was meant")
    error = agent.error(wire.ADMIT, upload="up", sha256=wanted, encoding=wire.RAW, size=18)
    assert error["kind"] == wire.HASH_MISMATCH
    assert error["transient"]
    assert "again" in error["hint"]
    assert agent.blob_names() == []
    assert agent.incoming_names() == []
    assert agent.result(wire.HAVE, sha256=[wanted]) == {"missing": [wanted]}


DAMAGES = {
    "truncated": lambda packed: packed[:-20],
    "empty": lambda packed: b"",
    "flipped": lambda packed: packed[:40] + bytes([packed[40] ^ 255]) + packed[41:],
    "not xz": lambda packed: b"PK" + packed,
    "trailing garbage": lambda packed: packed + b"x",
    "second stream": lambda packed: packed + lzma.compress(b"more"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_stream_is_refused(store, tmp_path, damage):
    content = os.urandom(3000)
    with pytest.raises(wire.AgentFailure) as refused:
        admit(store, tmp_path, content, DAMAGES[damage](lzma.compress(content)), wire.XZ)
    assert refused.value.kind == wire.HASH_MISMATCH
    assert leftovers(tmp_path) == []


def test_bomb_stops_at_the_announced_size(agent):
    bomb = lzma.compress(bytes(256 * 1024 * 1024), preset=0)
    agent.upload("bomb", bomb)
    error = agent.error(wire.ADMIT, upload="bomb", sha256=sha(b"bomb"), encoding=wire.XZ, size=1000)
    assert error["kind"] == wire.HASH_MISMATCH
    assert "1000 bytes" in error["message"]
    assert not error["transient"]
    assert agent.blob_names() == []
    assert agent.incoming_names() == []
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 100_000


def test_content_shorter_than_announced_is_refused(store, tmp_path):
    with pytest.raises(wire.AgentFailure) as refused:
        admit(store, tmp_path, b"short", size_bytes=6)
    assert refused.value.kind == wire.HASH_MISMATCH
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["../blobs/x", "/etc/passwd", "..", "", "a/b", ".hidden", "x\0y", "absent"])
def test_upload_is_a_bare_name_of_a_file_that_is_there(agent, name):
    error = agent.error(wire.ADMIT, upload=name, sha256=sha(b""), encoding=wire.RAW, size=0)
    assert error["kind"] == wire.BAD_REQUEST
    assert "upload" in error["message"]


def test_upload_may_not_be_a_link(store, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "incoming" / "up").symlink_to(tmp_path / "secret")
    with pytest.raises(wire.AgentFailure) as refused:
        store.admit("up", sha(b"secret"), wire.RAW, 6)
    assert refused.value.kind == wire.BAD_REQUEST
    assert (tmp_path / "secret").exists()


def test_unknown_encoding_is_refused(store, tmp_path):
    with pytest.raises(wire.AgentFailure) as refused:
        admit(store, tmp_path, b"x", encoding="zip")
    assert refused.value.kind == wire.BAD_REQUEST
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("limit_bytes", [10_000, 1 << 62], ids=["limit", "disk"])
def test_blob_too_large_for_the_board_is_refused_and_costs_no_other(tmp_path, limit_bytes):
    store = BlobStore(str(tmp_path), limit_bytes)
    store.open()
    admit(store, tmp_path, b"precious")
    with pytest.raises(wire.AgentFailure) as refused:
        admit(store, tmp_path, b"x", size_bytes=1 << 60)
    assert refused.value.kind == wire.DISK_FULL
    assert store.missing([sha(b"precious")]) == []


def set_last_use(tmp_path, content, age_s):
    used = time.time() - age_s
    os.utime(tmp_path / "blobs" / f"{sha(content)}.raw", (used, used))


def test_longest_unused_go_first(store, tmp_path):
    old, older, new = (bytes([letter]) * 4000 for letter in b"abc")
    admit(store, tmp_path, old)
    admit(store, tmp_path, older)
    set_last_use(tmp_path, old, 100)
    set_last_use(tmp_path, older, 200)
    admit(store, tmp_path, new)
    assert store.missing([sha(old), sha(older), sha(new)]) == [sha(older)]


@pytest.mark.parametrize("use", ["have", "unpacked"])
def test_use_keeps_a_blob(store, tmp_path, use):
    used, unused, new = (bytes([letter]) * 4000 for letter in b"abc")
    admit(store, tmp_path, used)
    admit(store, tmp_path, unused)
    set_last_use(tmp_path, used, 200)
    set_last_use(tmp_path, unused, 100)
    if use == "have":
        store.missing([sha(used)])
    else:
        with store.unpacked(sha(used)):
            pass
    admit(store, tmp_path, new)
    assert store.missing([sha(used), sha(unused), sha(new)]) == [sha(unused)]


def test_new_blob_is_never_the_one_to_go(store, tmp_path):
    content = os.urandom(10_000)
    # Packed noise is larger than the limit that its unpacked size just meets.
    admit(store, tmp_path, content, lzma.compress(content), wire.XZ)
    assert store.missing([sha(content)]) == []


def test_limit_is_a_flag_of_the_agent(start_agent):
    agent = start_agent("--blob-limit-bytes", "1000").greet()
    first = agent.put(b"a" * 800)
    second = agent.put(b"b" * 800)
    assert agent.result(wire.HAVE, sha256=[first, second]) == {"missing": [first]}


@pytest.mark.parametrize("encoding", [wire.RAW, wire.XZ])
def test_blob_damaged_on_disk_is_noticed_and_thrown_away(store, tmp_path, encoding):
    content = os.urandom(3000)
    admit(store, tmp_path, content, lzma.compress(content) if encoding == wire.XZ else content, encoding)
    blob = tmp_path / "blobs" / f"{sha(content)}.{encoding}"
    damaged = bytearray(blob.read_bytes())
    damaged[1500] ^= 255
    blob.write_bytes(damaged)
    with pytest.raises(wire.AgentFailure) as noticed, store.unpacked(sha(content)):
        pytest.fail("damaged content was handed out")
    assert noticed.value.kind == wire.HASH_MISMATCH
    assert store.missing([sha(content)]) == [sha(content)]
    assert leftovers(tmp_path) == []


def test_blob_that_is_not_there_is_a_failure_with_the_remedy(store):
    with pytest.raises(wire.AgentFailure) as missing, store.unpacked(sha(b"?")):
        pass
    assert missing.value.kind == wire.BLOB_MISSING
    assert missing.value.transient


def test_opening_sweeps_what_dead_sessions_left(tmp_path):
    dead = tmp_path / "scratch" / "999999999"
    dead.mkdir(parents=True)
    (dead / "half").write_bytes(b"x")
    (tmp_path / "incoming").mkdir()
    stale, fresh = tmp_path / "incoming" / "stale", tmp_path / "incoming" / "fresh"
    stale.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(stale, (0, 0))
    BlobStore(str(tmp_path)).open()
    assert not dead.exists()
    assert not stale.exists()
    assert fresh.exists()


def test_a_raw_blob_is_hashed_once_a_session_unless_somebody_touched_it(store, tmp_path, monkeypatch):
    content, hashed = b"model" * 1000, []
    chunks = blobs.verified_chunks
    monkeypatch.setattr(blobs, "verified_chunks", lambda *what: hashed.append(what[0]) or chunks(*what))
    admit(store, tmp_path, content)
    hashed.clear()
    for _ in range(3):
        assert store.missing([sha(content)]) == []
        with store.unpacked(sha(content)) as path:
            assert Path(path).read_bytes() == content
    assert len(hashed) == 1
    Path(path).write_bytes(content[:-1] + b"!")
    with pytest.raises(wire.AgentFailure) as noticed, store.unpacked(sha(content)):
        pass
    assert noticed.value.kind == wire.HASH_MISMATCH
    assert len(hashed) == 2
