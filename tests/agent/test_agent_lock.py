"""One session measures at a time: two real agents on one workdir."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading

import numpy as np
import pytest

from scbp_agent import lock, wire
from scbp_agent.lock import BoardLock

ANA = {"owner": "ana@laptop", "pid": 4711, "purpose": "run in /home/ana/runs", "session": "a1", "lent": None}
BEN = {"owner": "ben@tower", "pid": 12, "purpose": "measure model.onnx", "session": "b2", "lent": None}


@pytest.fixture
def greeted(start_agent, no_runtime_path):
    """Start agents and greet them."""
    return lambda: start_agent(PYTHONPATH=no_runtime_path).greet()


def test_a_second_session_is_told_who_has_the_board_since_when_and_what_for(greeted):
    holder = greeted().result(wire.LOCK, **ANA)["holder"]
    other = greeted()
    error = other.error(wire.LOCK, **BEN)
    assert error["kind"] == wire.BOARD_BUSY
    assert error["transient"]
    assert f"ana@laptop (process 4711 there) since {holder['since']}: run in /home/ana/runs" in error["message"]
    assert "--wait" in error["hint"]
    assert other.hello["lock"] == holder, "a board in use can be probed, and says by whom"
    assert greeted().hello["lock"] == holder


def test_what_measures_takes_the_lock_and_keeps_it(start_agent, options, linear_model):
    first, second = start_agent().greet(), start_agent().greet()
    model = first.put_model(linear_model(np.eye(48, 5)))
    plan = {"model": model, "options": options, "inputs": None, "runs": 2, "deadline_s": 60.0}
    assert first.hello["lock"] is None
    first.result(wire.MEASURE_SOLO, **plan)
    assert second.error(wire.MEASURE_SOLO, **plan)["kind"] == wire.BOARD_BUSY
    assert second.result(wire.HAVE, sha256=[]) == {"missing": []}, "what does not measure needs no lock"
    first.ask(wire.SHUTDOWN)
    first.process.wait(30)
    assert second.result(wire.MEASURE_SOLO, **plan)["runs_ns"]


def test_the_lock_of_a_killed_session_is_free(greeted):
    first, second = greeted(), greeted()
    first.result(wire.LOCK, **ANA)
    assert second.error(wire.LOCK, **BEN)["kind"] == wire.BOARD_BUSY
    first.process.kill()
    first.process.wait()
    assert second.result(wire.LOCK, **BEN)["holder"]["owner"] == "ben@tower"


def test_a_host_that_comes_back_replaces_the_agent_it_lost(greeted):
    lost, found = greeted(), greeted()
    lost.result(wire.LOCK, **ANA)
    assert found.result(wire.LOCK, **ANA)["holder"]["agent_pid"] == found.process.pid
    assert lost.process.wait(30) != 0
    assert found.result(wire.LOCK, **ANA)["holder"]["agent_pid"] == found.process.pid, "asked again, nothing changes"


def test_a_predecessor_that_does_not_end_is_killed(greeted, monkeypatch):
    monkeypatch.setattr(lock, "_PREDECESSOR_S", 0.2)
    stuck = greeted()
    stuck.result(wire.LOCK, **ANA)
    stuck.process.send_signal(signal.SIGSTOP)
    own = BoardLock(str(stuck.workdir))
    own.take(wire.lock_claim(ANA))
    assert stuck.process.wait(30) == -signal.SIGKILL
    own.release()
    assert own.holder() is None


def test_a_number_in_the_file_that_is_another_process_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PREDECESSOR_S", 0.1)
    holding = BoardLock(str(tmp_path))
    holding.take(wire.lock_claim(ANA))
    path = tmp_path / lock.FILE_NAME
    with subprocess.Popen(["sleep", "60"]) as bystander:
        path.write_text(path.read_text().replace(f'"agent_pid":{os.getpid()}', f'"agent_pid":{bystander.pid}'))
        with pytest.raises(wire.AgentFailure, match="in use by ana@laptop"):
            BoardLock(str(tmp_path)).take(wire.lock_claim(ANA))
        assert bystander.poll() is None
        bystander.kill()


def test_a_session_that_was_lent_the_board_works_beside_its_lender(greeted):
    lender, guest = greeted(), greeted()
    lender.result(wire.LOCK, **ANA)
    assert guest.result(wire.LOCK, **{**BEN, "lent": "a1"})["holder"]["owner"] == "ana@laptop"
    assert lender.process.poll() is None


def test_a_lock_that_is_not_ours_is_somebodys(tmp_path):
    path = tmp_path / lock.FILE_NAME
    path.write_text("no JSON")
    with path.open() as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert BoardLock(str(tmp_path)).holder() is None
        with pytest.raises(wire.AgentFailure, match="in use by somebody"):
            BoardLock(str(tmp_path)).take(wire.lock_claim(ANA))


def test_somebody_who_only_looks_does_not_make_the_board_busy(tmp_path):
    path = tmp_path / lock.FILE_NAME
    path.write_text("")
    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.05, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        taken = BoardLock(str(tmp_path))
        taken.take(wire.lock_claim(ANA))
        timer.join()
    assert taken.holder().owner == "ana@laptop"


def test_a_claim_that_names_nobody_is_refused(agent):
    assert "'owner'" in agent.error(wire.LOCK, pid=1, purpose="", session="", lent=None)["message"]
