"""One session measures at a time: real agents on one board, whichever folder is theirs."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from scbp_agent import lock, wire
from scbp_agent.lock import BoardLock

ANA = {"owner": "ana@laptop", "pid": 4711, "purpose": "run in /home/ana/runs", "session": "a1", "lent": None}
BEN = {"owner": "ben@tower", "pid": 12, "purpose": "measure model.onnx", "session": "b2", "lent": None}


@pytest.fixture
def greeted(start_agent, no_runtime_path):
    """Start agents and greet them."""
    return lambda folder="workdir": start_agent(PYTHONPATH=no_runtime_path, folder=folder).greet()


@pytest.fixture
def file() -> Path:
    """Where all users of this test's board meet."""
    return Path(os.environ[lock.FOLDER_VARIABLE]) / lock.FILE_NAME


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


@pytest.mark.parametrize("folder", ["workdir", "of-another-login"])
def test_the_lock_of_a_killed_session_is_free(greeted, folder):
    first, second = greeted(), greeted(folder)
    first.result(wire.LOCK, **ANA)
    assert second.error(wire.LOCK, **BEN)["kind"] == wire.BOARD_BUSY
    first.process.kill()
    first.process.wait()
    assert second.result(wire.LOCK, **BEN)["holder"]["owner"] == "ben@tower"


def test_two_logins_of_one_board_exclude_each_other(greeted):
    ours, theirs = greeted("ana"), greeted("ben")
    holder = ours.result(wire.LOCK, **ANA)["holder"]
    error = theirs.error(wire.LOCK, **BEN)
    assert (error["kind"], "in use by ana@laptop" in error["message"]) == (wire.BOARD_BUSY, True)
    assert greeted("carl").hello["lock"] == holder
    ours.ask(wire.SHUTDOWN)
    ours.process.wait(30)
    assert theirs.result(wire.LOCK, **BEN)["holder"]["owner"] == "ben@tower"


def test_where_everybody_meets_is_where_everybody_may_write_and_nobody_remove(monkeypatch, tmp_path):
    monkeypatch.delenv(lock.FOLDER_VARIABLE)
    folders = [tmp_path / name for name in ("missing", "mine", "ours", "later")]
    for folder, mode in zip(folders[1:], (0o755, 0o1777, 0o1777), strict=True):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(lock, "_FOLDERS", [str(folder) for folder in folders])
    BoardLock().take(wire.lock_claim(ANA))
    assert [path.parent.name for path in tmp_path.glob(f"*/{lock.FILE_NAME}")] == ["ours"]


def test_everybody_may_read_and_write_the_name_whatever_the_first_users_umask_is(file):
    before = os.umask(0o077)
    try:
        BoardLock().take(wire.lock_claim(ANA))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666


def test_a_file_of_another_user_that_is_closed_to_us_locks_as_well(file, monkeypatch, caplog):
    file.touch()
    monkeypatch.setattr(lock, "_WAYS_TO_OPEN", (os.O_RDONLY,))
    ours = BoardLock()
    ours.take(wire.lock_claim(ANA))
    assert ours.holder().owner == "ana@laptop"
    assert "others cannot read" in caplog.text
    with pytest.raises(wire.AgentFailure, match="in use by somebody"):
        BoardLock().take(wire.lock_claim(BEN))
    ours.release()
    BoardLock().take(wire.lock_claim(BEN))


@pytest.mark.parametrize("trap", ["symlink", "hard link", "pipe", "folder"])
def test_what_another_user_put_in_its_place_is_refused_untouched(file, tmp_path, trap):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    traps = {"symlink": file.symlink_to, "hard link": file.hardlink_to}
    if trap in traps:
        traps[trap](treasure)
    else:
        (os.mkfifo if trap == "pipe" else os.mkdir)(file)
    with pytest.raises(wire.AgentFailure, match="the board's lock cannot be used") as caught:
        BoardLock().take(wire.lock_claim(ANA))
    assert (caught.value.kind, bool(caught.value.hint)) == (wire.AGENT_ERROR, True)
    assert treasure.read_text() == "mine"
    assert BoardLock().holder() is None


def test_what_somebody_calls_himself_cannot_steer_a_terminal():
    held = BoardLock()
    held.take(wire.lock_claim({**ANA, "owner": "\x1b[2Jana", "purpose": "one\ntwo"}))
    holder = BoardLock().holder()
    assert (holder.owner, holder.purpose) == ("?[2Jana", "one?two")


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
    own = BoardLock()
    own.take(wire.lock_claim(ANA))
    assert stuck.process.wait(30) == -signal.SIGKILL
    own.release()
    assert own.holder() is None


def test_a_number_in_the_file_that_is_another_process_is_left_alone(file, monkeypatch):
    monkeypatch.setattr(lock, "_PREDECESSOR_S", 0.1)
    holding = BoardLock()
    holding.take(wire.lock_claim(ANA))
    with subprocess.Popen(["sleep", "60"]) as bystander:
        file.write_text(file.read_text().replace(f'"agent_pid":{os.getpid()}', f'"agent_pid":{bystander.pid}'))
        with pytest.raises(wire.AgentFailure, match="in use by ana@laptop"):
            BoardLock().take(wire.lock_claim(ANA))
        assert bystander.poll() is None
        bystander.kill()


def test_a_session_that_was_lent_the_board_works_beside_its_lender(greeted):
    lender, guest = greeted(), greeted()
    lender.result(wire.LOCK, **ANA)
    assert guest.result(wire.LOCK, **{**BEN, "lent": "a1"})["holder"]["owner"] == "ana@laptop"
    assert lender.process.poll() is None


@pytest.mark.parametrize("text", ["no JSON", "{}", "[" * 4096, "\xff"])
def test_a_lock_that_is_not_ours_is_somebodys(file, text):
    file.write_text(text, encoding="latin-1")
    with file.open() as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert BoardLock().holder() is None
        with pytest.raises(wire.AgentFailure, match="in use by somebody"):
            BoardLock().take(wire.lock_claim(ANA))


def test_somebody_who_only_looks_does_not_make_the_board_busy(file):
    file.write_text("")
    with file.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.05, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        taken = BoardLock()
        taken.take(wire.lock_claim(ANA))
        timer.join()
    assert taken.holder().owner == "ana@laptop"


def test_a_claim_that_names_nobody_is_refused(agent):
    assert "'owner'" in agent.error(wire.LOCK, pid=1, purpose="", session="", lent=None)["message"]
