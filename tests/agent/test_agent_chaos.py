"""Whatever a runtime does, and in whichever phase: its own typed failure, in time, and the next request works."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

import scbp_agent
from scbp_agent import wire

CHAOS = Path(__file__).with_name("chaos.py")
DEADLINE_S = 2.0
# What may pass beyond a deadline: killing, reaping, reading what is left in the pipes.
GRACE_S = 5.0
PATIENCE_S = 50.0
GIGABYTE = 10**9
OPTIONS = {"runtime": "chaos", "threads": 1, "settings": {}}


@pytest.fixture(scope="module")
def chaotic(tmp_path_factory) -> str:
    """A PYTHONPATH with this agent and one more runtime: one module, one line in the table."""
    folder = tmp_path_factory.mktemp("chaotic")
    (source,) = scbp_agent.__path__
    shutil.copytree(source, folder / "scbp_agent", ignore=shutil.ignore_patterns("__pycache__"))
    runtimes = folder / "scbp_agent" / "runtimes"
    shutil.copy(CHAOS, runtimes / "chaos.py")
    table = (runtimes / "base.py").read_text()
    assert table.count("RUNTIMES = {") == 1
    line = 'RUNTIMES = {"chaos": "scbp_agent.runtimes.chaos", '
    (runtimes / "base.py").write_text(table.replace("RUNTIMES = {", line))
    return str(folder)


@pytest.fixture
def agent(start_agent, chaotic):
    return start_agent(program=["-m", "scbp_agent"], PYTHONPATH=chaotic).greet()


def plan(agent, behaviour, **changes):
    model = agent.put_model(behaviour.encode())
    return {"model": model, "options": OPTIONS, "deadline_s": 60.0, "inputs": None, "runs": 2, **changes}


def assert_works(agent):
    assert agent.scratch_files() == []
    assert len(wire.solo_result(agent.result(wire.MEASURE_SOLO, **plan(agent, "fine"))).runs_ns) == 2


# The request that makes a model misbehave in this phase.
PHASES = {"build": wire.MEASURE_BUILD, "load": wire.MEASURE_SOLO, "run": wire.MEASURE_SOLO}
FAILURES = [
    ("segfault", wire.WORKER_CRASHED, "SIGSEGV"),
    ("leave", wire.WORKER_CRASHED, "exit status 3"),
    ("abort", wire.WORKER_CRASHED, "SIGABRT"),
    ("killed", wire.OUT_OF_MEMORY, "killed"),
]


@pytest.mark.parametrize("phase", PHASES)
def test_a_death_is_typed_in_every_phase(agent, phase):
    for act, kind, words in FAILURES:
        error = agent.error(PHASES[phase], **plan(agent, f"{phase} {act}"))
        assert error["kind"] == kind
        assert words in error["message"]
        assert_works(agent)


def test_memory_beyond_the_limit_is_out_of_memory_before_the_board_swaps(agent):
    for phase, method in PHASES.items():
        error = agent.error(method, **plan(agent, f"{phase} 10 GB", memory_limit_bytes=2 * GIGABYTE))
        assert error["kind"] == wire.OUT_OF_MEMORY
        assert "2000 MB" in error["hint"]
        assert_works(agent)


@pytest.mark.parametrize("act", ["never end", "spin"])
def test_an_endless_build_ends_at_its_deadline(agent, act):
    started = time.monotonic()
    error = agent.error(wire.MEASURE_BUILD, **plan(agent, f"build {act}", deadline_s=DEADLINE_S))
    assert time.monotonic() - started < DEADLINE_S + GRACE_S
    assert error["kind"] == wire.TIMEOUT
    assert "(build)" in error["message"]
    assert_works(agent)


def test_a_build_that_the_kernel_kills_is_tried_again_in_a_fresh_worker_within_its_deadline(agent):
    built = wire.build_result(agent.result(wire.MEASURE_BUILD, **plan(agent, "build killed twice")))
    assert built.notes == ["built by chaos", "killed 2 times"]
    assert_works(agent)


@pytest.mark.parametrize("act", ["flood", "chatter"])
def test_what_a_runtime_prints_is_not_on_the_wire(agent, act):
    assert wire.build_result(agent.result(wire.MEASURE_BUILD, **plan(agent, f"build {act}"))).build_ns == 1000
    for phase in PHASES:
        wire.solo_result(agent.result(wire.MEASURE_SOLO, **plan(agent, f"{phase} {act}")))


def test_a_child_that_keeps_the_pipes_open_does_not_hide_its_parents_death(agent):
    started = time.monotonic()
    error = agent.error(wire.MEASURE_SOLO, **plan(agent, "run leave a child", deadline_s=PATIENCE_S))
    assert time.monotonic() - started < PATIENCE_S
    assert error["kind"] == wire.WORKER_CRASHED
    assert "exit status 5" in error["message"]
    assert_works(agent)


def test_a_build_is_a_phase_of_its_own_with_time_and_memory(agent):
    built = wire.build_result(agent.result(wire.MEASURE_BUILD, **plan(agent, "fine")))
    assert (built.build_ns, built.cached, built.notes) == (1000, False, ["built by chaos"])
    assert built.phase is not None
    assert built.phase.peak_rss_bytes >= 0.9 * built.baseline_rss_bytes > 0
    assert set(built.conditions) == {"before", "during", "after"}
    assert "built by chaos" in wire.solo_result(agent.result(wire.MEASURE_SOLO, **plan(agent, "fine"))).notes


def test_a_limit_is_refused_where_the_gpu_is_in_play(agent):
    options = {"runtime": "onnxruntime", "threads": 1, "settings": {"providers": ["CUDAExecutionProvider"]}}
    changes = {"options": options, "memory_limit_bytes": 2 * GIGABYTE}
    error = agent.error(wire.MEASURE_SOLO, **plan(agent, "fine", **changes))
    assert error["kind"] == wire.BAD_REQUEST
    assert "memory_limit_bytes" in error["message"]
