"""Whatever a runtime does to its worker is a typed failure, and the next request finds the agent as it was."""

from __future__ import annotations

import os
import select

import pytest

from scbp_agent import memory, wire

PATIENCE_S = 30.0


@pytest.fixture
def stubbed(start_agent, stub_path):
    return start_agent(PYTHONPATH=stub_path).greet()


def solo(agent, options, behaviour, deadline_s=60.0):
    model = agent.put_model(behaviour.encode())
    return {"model": model, "options": options, "inputs": None, "runs": 2, "deadline_s": deadline_s}


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("segfault", wire.WORKER_CRASHED, "SIGSEGV"),
        ("leave", wire.WORKER_CRASHED, "exit status 3: the last words"),
        ("garbage", wire.WORKER_CRASHED, "no result"),
        ("bug", wire.BAD_MODEL, "unforeseen"),
        ("killed", wire.OUT_OF_MEMORY, "killed"),
        ("bad_alloc", wire.OUT_OF_MEMORY, "std::bad_alloc"),
        ("out_of_memory", wire.OUT_OF_MEMORY, "9 EiB"),
    ],
)
def test_failure_is_typed_and_the_next_request_works(stubbed, options, behaviour, kind, words):
    error = stubbed.error(wire.MEASURE_SOLO, **solo(stubbed, options, behaviour))
    assert error["kind"] == kind
    assert words in error["message"]
    assert stubbed.scratch_files() == []
    wire.solo_result(stubbed.result(wire.MEASURE_SOLO, **solo(stubbed, options, "fine")))


def test_what_the_import_took_and_gave_back_is_not_the_baseline(start_agent, stub_path, options):
    import_peak_bytes = 256 * 1024 * 1024
    agent = start_agent(PYTHONPATH=stub_path, IMPORT_PEAK_BYTES=str(import_peak_bytes)).greet()
    result = wire.solo_result(agent.result(wire.MEASURE_SOLO, **solo(agent, options, "fine")))
    # Where the kernel forbids the reset, the peak stays, and baseline and peak agree at least.
    forbidden = not memory.reset_peak_rss()
    assert (result.baseline_rss_bytes > import_peak_bytes) == forbidden


@pytest.mark.parametrize("behaviour", ["chatter", "flood"])
def test_runtime_that_prints_does_not_reach_the_wire(stubbed, options, behaviour):
    wire.solo_result(stubbed.result(wire.MEASURE_SOLO, **solo(stubbed, options, behaviour)))


def test_worker_past_its_deadline_is_killed(start_agent, stub_path, alive, options):
    agent = start_agent(PYTHONPATH=stub_path, ALIVE_FIFO=str(alive.path)).greet()
    agent.post(wire.MEASURE_SOLO, **solo(agent, options, "hang", deadline_s=3.0))
    alive.await_start()
    error = agent.read()["error"]
    assert error["kind"] == wire.TIMEOUT
    assert "3 s" in error["message"]
    alive.await_end()
    wire.solo_result(agent.result(wire.MEASURE_SOLO, **solo(agent, options, "fine")))


@pytest.mark.parametrize("deadline_s", [0, -1.0, float("1e999")])
def test_deadline_that_is_none_is_a_bad_request(stubbed, options, deadline_s):
    plan = solo(stubbed, options, "fine")
    line = wire.encode({"id": 99, "method": wire.MEASURE_SOLO, "params": {**plan, "deadline_s": 123456789}})
    stubbed.send(line.replace(b"123456789", repr(deadline_s).replace("inf", "1e999").encode()))
    error = stubbed.read()["error"]
    assert error["kind"] == wire.BAD_REQUEST
    assert "deadline_s" in error["message"]


class Alive:
    """A FIFO that the hanging worker holds open: it reads b"x" once the worker hangs, and its end when that is dead."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self):
        assert select.select([self._descriptor], [], [], PATIENCE_S)[0], "neither a start nor an end of the worker"
        return os.read(self._descriptor, 1)

    def await_start(self):
        assert self._read() == b"x"

    def await_end(self):
        assert self._read() == b""

    def close(self):
        os.close(self._descriptor)


@pytest.fixture
def alive(tmp_path):
    fifo = Alive(tmp_path / "alive")
    yield fifo
    fifo.close()


@pytest.mark.parametrize("end", ["stdin closed", "SIGKILL", "SIGTERM"])
def test_worker_does_not_outlive_its_agent(start_agent, stub_path, alive, options, end):
    agent = start_agent(PYTHONPATH=stub_path, ALIVE_FIFO=str(alive.path)).greet()
    agent.post(wire.MEASURE_SOLO, **solo(agent, options, "hang", deadline_s=600.0))
    alive.await_start()
    {"stdin closed": agent.process.stdin.close, "SIGKILL": agent.process.kill, "SIGTERM": agent.process.terminate}[
        end
    ]()
    alive.await_end()
    agent.process.wait(PATIENCE_S)


def test_content_that_is_not_what_the_hash_says_never_reaches_the_runtime(start_agent, stub_path, tmp_path, options):
    opened = tmp_path / "opened"
    agent = start_agent(PYTHONPATH=stub_path, OPENED_LOG=str(opened)).greet()
    # The greeting asks which opset the runtime takes, which is the runtime's first model.
    opened.unlink()
    plan = solo(agent, options, "fine")
    blob = agent.workdir / "blobs" / (plan["model"]["blobs"]["model"] + ".raw")
    blob.write_bytes(b"chatter")
    assert agent.error(wire.MEASURE_SOLO, **plan)["kind"] == wire.HASH_MISMATCH
    assert not opened.exists()
    agent.result(wire.MEASURE_SOLO, **solo(agent, options, "fine"))
    assert opened.exists()
