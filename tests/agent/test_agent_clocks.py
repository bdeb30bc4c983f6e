"""Clocks are held and put back whatever happens: a real agent, and a board whose programs really change its files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scbp_agent import wire

JETSON = {"power_mode": "MAXN_SUPER", "jetson_clocks": True, "governor": None}
PI = {"power_mode": None, "jetson_clocks": False, "governor": "performance"}
ANA = {"owner": "ana@laptop", "pid": 4711, "purpose": "run", "session": "a1", "lent": None}
BEN = {**ANA, "owner": "ben@tower", "session": "b2"}


def files(root: Path) -> dict[str, str]:
    """What the board's clocks hang on."""
    under = [root / "var", root / "sys" / "class" / "devfreq", root / "sys" / "devices" / "system"]
    return {str(path): path.read_text() for folder in under for path in sorted(folder.rglob("*")) if path.is_file()}


def asked(root: Path) -> list[str]:
    """What sudo was asked to run, without the root before each program."""
    path = root / "asked"
    return path.read_text().replace(f"{root}/", "/").splitlines() if path.exists() else []


@pytest.fixture
def jetson(make_clocks_board: Callable[[str], Path]) -> Path:
    """An Orin Nano in its slowest mode."""
    root = make_clocks_board("jetson-orin-nano")
    (root / "var/lib/nvpmodel/status").write_text("pmode:0003 fmode:quiet\n")
    return root


@pytest.fixture
def pi(make_clocks_board: Callable[[str], Path]) -> Path:
    """A Raspberry Pi 4; two of its cores, whose governor is one file."""
    root = make_clocks_board("raspberry-pi-4")
    cores = root / "sys/devices/system/cpu"
    (cores / "cpu1").mkdir()
    (cores / "cpu1" / "cpufreq").symlink_to(cores / "cpu0" / "cpufreq")
    return root


@pytest.fixture
def on(start_agent: Callable[..., Any], no_runtime_path: str) -> Callable[[Path], Any]:
    """Start an agent on a board, and greet it."""
    return lambda root: start_agent(SCBP_BOARD_ROOT=str(root), PYTHONPATH=no_runtime_path).greet()


def test_a_jetsons_mode_and_clocks_are_held_and_put_back(jetson, on):
    before, agent = files(jetson), on(jetson)
    assert agent.hello["conditions"]["clock_policy"] == "DVFS"
    held = agent.result(wire.LOCK_CLOCKS, **JETSON)
    assert held == {"policy": "locked", "power_mode": "MAXN_SUPER", "warnings": []}
    assert "pmode:0002" in (jetson / "var/lib/nvpmodel/status").read_text(), "the mode's number is this board's own"
    assert agent.result(wire.RESTORE_CLOCKS) == {"warnings": []}
    assert files(jetson) == before
    assert not list(agent.workdir.glob("clocks*")), "nothing is left to put back"
    assert [line.split()[:2] for line in asked(jetson)] == [
        ["-n", "/usr/bin/jetson_clocks"],
        ["-n", "/usr/sbin/nvpmodel"],
        ["-n", "/usr/bin/jetson_clocks"],
        ["-n", "/usr/bin/jetson_clocks"],
        ["-n", "/usr/bin/jetson_clocks"],
        ["-n", "/usr/sbin/nvpmodel"],
        ["-n", "/usr/bin/jetson_clocks"],
    ]


def test_clocks_that_were_held_before_stay_held(jetson, on):
    for least in jetson.rglob("*min_freq"):
        least.write_text(least.with_name(least.name.replace("min", "max")).read_text())
    before, agent = files(jetson), on(jetson)
    agent.result(wire.LOCK_CLOCKS, **JETSON)
    agent.result(wire.RESTORE_CLOCKS)
    assert files(jetson) == before


def test_a_pis_governor_is_held_and_put_back(pi, on):
    before, agent = files(pi), on(pi)
    assert agent.result(wire.LOCK_CLOCKS, **PI) == {"policy": "locked", "power_mode": None, "warnings": []}
    assert agent.result(wire.RESTORE_CLOCKS) == {"warnings": []}
    assert files(pi) == before
    assert len(asked(pi)) == 2, "one file, though two cores"


def test_without_the_right_nothing_changes_and_it_says_so_once(jetson, on):
    (jetson / "refuse").touch()
    before, agent = files(jetson), on(jetson)
    held = agent.result(wire.LOCK_CLOCKS, **JETSON)
    assert (held["policy"], held["power_mode"]) == ("DVFS", "7W")
    (warning,) = held["warnings"]
    assert "a password is required" in warning
    assert "docs/devices.md" in warning
    assert files(jetson) == before
    assert not list(agent.workdir.glob("clocks*"))


def test_a_mode_that_takes_a_reboot_is_reported_and_never_agreed_to(jetson, on):
    (jetson / "reboot").write_text("2\n")
    before, agent = files(jetson), on(jetson)
    held = agent.result(wire.LOCK_CLOCKS, **JETSON)
    assert (held["policy"], held["power_mode"]) == ("locked", "7W"), "the clocks are held in the mode there is"
    assert "power mode 2 takes a reboot: on the board, sudo nvpmodel -m 2" in held["warnings"][0]
    agent.result(wire.RESTORE_CLOCKS)
    assert files(jetson) == before
    assert not (jetson / "rebooted").exists()


@pytest.mark.parametrize(("name", "found"), [("maxn_super", True), ("MODE_MAXN_SUPER", True), ("MAXN", False)])
def test_modes_are_found_by_their_names(jetson, on, name, found):
    held = on(jetson).result(wire.LOCK_CLOCKS, **{**JETSON, "power_mode": name})
    assert (held["power_mode"] == "MAXN_SUPER") is found
    if not found:
        assert "no power mode 'MAXN'; this board has: 15W, 25W, 7W, MAXN_SUPER" in held["warnings"][0]


def test_the_active_mode_is_asked_for_where_its_file_is_missing(jetson, on):
    status = jetson / "var/lib/nvpmodel/status"
    program = jetson / "usr/sbin/nvpmodel"
    hidden = status.with_name("hidden")
    status.rename(hidden)
    program.write_text(program.read_text().replace("nvpmodel/status", "nvpmodel/hidden"))
    before, agent = files(jetson), on(jetson)
    assert agent.result(wire.LOCK_CLOCKS, **JETSON)["warnings"] == []
    assert "pmode:0002" in hidden.read_text()
    agent.result(wire.RESTORE_CLOCKS)
    assert files(jetson) == before


def test_a_board_without_such_clocks_says_so(on, make_board):
    held = on(Path(make_board("pc"))).result(wire.LOCK_CLOCKS, **JETSON)
    assert "/usr/bin/jetson_clocks is not on this board" in held["warnings"][0]
    assert held["policy"] == "DVFS"


def shut_down(agent: Any) -> None:
    agent.ask(wire.SHUTDOWN)


def hang_up(agent: Any) -> None:
    agent.process.stdin.close()


@pytest.mark.parametrize(
    "end",
    [
        shut_down,
        hang_up,
        lambda agent: agent.process.send_signal(signal.SIGTERM),
        lambda agent: agent.process.send_signal(signal.SIGHUP),
    ],
    ids=["shutdown", "hang up", "SIGTERM", "SIGHUP"],
)
def test_a_session_that_ends_puts_the_clocks_back(jetson, on, end):
    before, agent = files(jetson), on(jetson)
    agent.result(wire.LOCK_CLOCKS, **JETSON)
    assert files(jetson) != before
    end(agent)
    agent.process.wait(60)
    assert files(jetson) == before
    assert on(jetson).hello["warnings"] == []


def test_after_a_sigkill_the_next_hello_puts_the_clocks_back_and_says_so(jetson, on):
    before, agent = files(jetson), on(jetson)
    agent.result(wire.LOCK_CLOCKS, **JETSON)
    agent.process.kill()
    agent.process.wait()
    assert files(jetson) != before
    hello = on(jetson).hello
    assert "a session that was killed had left the clocks held; they were put back" in hello["warnings"]
    assert hello["conditions"]["clock_policy"] == "DVFS"
    assert files(jetson) == before
    assert hello["lock"] is None
    assert on(jetson).hello["warnings"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_in_the_middle_of_the_change_is_no_exception(jetson, on, number):
    before, agent = files(jetson), on(jetson)
    os.mkfifo(jetson / "pause")
    agent.post(wire.LOCK_CLOCKS, **JETSON)
    with (jetson / "pause").open("w"):
        # jetson_clocks waits: the mode is another already, the clocks are not held yet.
        assert files(jetson) != before
        agent.process.send_signal(number)
        if number == signal.SIGKILL:
            agent.process.wait()
    agent.process.wait(60)
    (jetson / "pause").unlink()
    if number == signal.SIGTERM:
        assert files(jetson) == before
    assert bool(on(jetson).hello["warnings"]) is (number == signal.SIGKILL)
    assert files(jetson) == before


def test_another_sessions_clocks_are_left_alone_while_it_lives(jetson, on):
    first = on(jetson)
    first.result(wire.LOCK, **ANA)
    first.result(wire.LOCK_CLOCKS, **JETSON)
    held = files(jetson)
    second = on(jetson)
    assert second.hello["warnings"] == []
    assert second.error(wire.LOCK_CLOCKS, **PI)["kind"] == wire.BOARD_BUSY
    assert second.error(wire.RESTORE_CLOCKS)["kind"] == wire.BOARD_BUSY
    assert files(jetson) == held


def test_who_waited_for_the_board_of_a_killed_session_gets_it_with_the_clocks_put_back(jetson, on):
    before, first, second = files(jetson), on(jetson), on(jetson)
    first.result(wire.LOCK, **ANA)
    first.result(wire.LOCK_CLOCKS, **JETSON)
    assert second.error(wire.LOCK, **BEN)["kind"] == wire.BOARD_BUSY
    first.process.kill()
    first.process.wait()
    assert second.result(wire.LOCK, **BEN)["warnings"]
    assert files(jetson) == before


def test_a_host_that_lost_its_agent_finds_the_clocks_put_back(jetson, on):
    before, lost = files(jetson), on(jetson)
    lost.result(wire.LOCK, **ANA)
    lost.result(wire.LOCK_CLOCKS, **JETSON)
    assert on(jetson).result(wire.LOCK, **ANA)["holder"]["agent_pid"] != lost.process.pid
    assert files(jetson) == before


def test_what_could_not_be_put_back_is_tried_again_and_told_every_time(jetson, on):
    before, agent = files(jetson), on(jetson)
    agent.result(wire.LOCK_CLOCKS, **JETSON)
    (jetson / "refuse").touch()
    assert any("power mode could not be put back to 3" in own for own in agent.result(wire.RESTORE_CLOCKS)["warnings"])
    held = agent.result(wire.LOCK_CLOCKS, **JETSON)
    assert any("could not be put back" in warning for warning in held["warnings"]), "and nothing else is changed then"
    agent.stop()
    assert any("could not be put back" in warning for warning in on(jetson).hello["warnings"])
    (jetson / "refuse").unlink()
    assert not any("could not" in warning for warning in on(jetson).hello["warnings"])
    assert files(jetson) == before


@pytest.mark.parametrize("text", ["no JSON", '{"steps": [{"kind": "reformat", "subject": "/", "value": ""}]}'])
def test_a_record_that_cannot_be_read_is_told_and_nothing_is_done(jetson, on, text):
    agent = on(jetson)
    (agent.workdir / "clocks.json").write_text(text)
    hello = on(jetson).hello
    assert any("cannot be read, so they stay as they are" in warning for warning in hello["warnings"])
    assert asked(jetson) == []


def test_clocks_that_are_held_again_are_put_back_to_what_they_were_first(jetson, on):
    before, agent = files(jetson), on(jetson)
    for _ in range(2):
        assert agent.result(wire.LOCK_CLOCKS, **JETSON)["policy"] == "locked"
    agent.result(wire.RESTORE_CLOCKS)
    assert files(jetson) == before
