"""Engines are found by what they depend on, verified, and bounded."""

import errno
import os
from pathlib import Path

import pytest

from scbp_agent import engines, wire
from scbp_agent.engines import EngineCache

ONE, TWO, THREE = ({"model": name, "settings": {"precision": "fp16"}} for name in "abc")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "engines"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def used_at(engine: engines.Engine, second: int) -> None:
    os.utime(engine.path, (second, second))


def test_an_engine_is_found_by_all_its_facts(folder):
    cache = EngineCache(str(folder))
    assert cache.find(ONE) is None
    kept = cache.keep(ONE, b"engine", 5, ["a note"])
    assert cache.find(ONE) == kept == engines.Engine(kept.path, 5, ["a note"])
    assert cache.find({**ONE, "settings": {"precision": "fp32"}}) is None
    assert EngineCache(str(folder)).find(ONE) == kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"engin3"),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("{}"),
        lambda path: path.with_suffix(".json").write_text("[]"),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
    ],
)
def test_what_is_damaged_is_deleted_and_not_used(folder, damage):
    cache = EngineCache(str(folder))
    kept = cache.keep(ONE, b"engine", 5, [])
    other = cache.keep(TWO, b"other", 5, [])
    damage(Path(kept.path))
    assert cache.find(ONE) is None
    assert names(folder) == sorted(Path(other.path).with_suffix(end).name for end in (".engine", ".json"))


def test_an_engine_under_the_name_of_another_is_not_used(folder):
    cache = EngineCache(str(folder))
    kept, other = cache.keep(ONE, b"engine", 5, []), cache.keep(TWO, b"other", 5, [])
    for ending in (".engine", ".json"):
        Path(other.path).with_suffix(ending).replace(Path(kept.path).with_suffix(ending))
    assert cache.find(ONE) is None


def test_the_longest_unused_make_room(folder):
    cache = EngineCache(str(folder), limit_bytes=250)
    first, second = cache.keep(ONE, b"1" * 100, 1, []), cache.keep(TWO, b"2" * 100, 1, [])
    used_at(first, 1000)
    used_at(second, 2000)
    cache.find(ONE)
    cache.keep(THREE, b"3" * 100, 1, [])
    assert cache.find(TWO) is None
    assert cache.find(ONE) is not None
    assert cache.find(THREE) is not None


def test_an_engine_replaced_by_itself_evicts_none(folder):
    cache = EngineCache(str(folder), limit_bytes=250)
    cache.keep(ONE, b"1" * 100, 1, [])
    cache.keep(TWO, b"2" * 100, 1, [])
    cache.keep(TWO, b"3" * 100, 1, [])
    assert cache.find(ONE) is not None


def test_a_full_disk_is_told_before_the_build(folder, monkeypatch):
    usage = engines.shutil.disk_usage("/")
    monkeypatch.setattr(engines.shutil, "disk_usage", lambda path: usage._replace(free=engines.DISK_RESERVE_BYTES + 10))
    cache = EngineCache(str(folder))
    cache.require_room(10)
    with pytest.raises(wire.AgentFailure, match="11 bytes finds") as caught:
        cache.require_room(11)
    assert caught.value.kind == wire.DISK_FULL


def test_a_disk_that_fills_up_while_it_is_written_leaves_nothing_behind(folder, monkeypatch):
    cache = EngineCache(str(folder))
    cache.keep(ONE, b"engine", 5, [])
    before = names(folder)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engines.os, "fsync", full)
    with pytest.raises(wire.AgentFailure) as caught:
        cache.keep(TWO, b"other", 5, [])
    assert caught.value.kind == wire.DISK_FULL
    assert names(folder) == before


def test_timings_are_replaced_as_a_whole(folder):
    cache = EngineCache(str(folder))
    assert cache.timing("8.2 on a board") == b""
    cache.keep_timing("8.2 on a board", b"first")
    cache.keep_timing("8.2 on a board", b"second")
    assert cache.timing("8.2 on a board") == b"second"
    assert cache.timing("8.5 on a board") == b""
    assert len(names(folder)) == 1
