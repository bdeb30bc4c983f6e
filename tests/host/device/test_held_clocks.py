"""A client that holds the board's clocks: real agents on a board whose programs really change its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scbp_host.cli.main import run_command
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import ClockSettings, DeviceProfile
from scbp_host.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from scbp_host.profiles import load_profile

PATIENCE_S = 60.0
# Ctrl-C counts here too where a shell has started the tests in the background, which makes processes ignore it.
HEEDING = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
PROGRAM = [sys.executable, "-c", HEEDING + "from scbp_host.cli.main import main; main(sys.argv[1:])"]


@pytest.fixture
def board(
    make_clocks_board: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    """The local device is a Raspberry Pi 4; returns a reader of its governor."""
    root = make_clocks_board("raspberry-pi-4")
    monkeypatch.setenv("SCBP_BOARD_ROOT", str(root))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return lambda: (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()


@pytest.fixture
def model(tmp_path: Path, make_onnx: Callable[..., bytes]) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(make_onnx())
    return str(path)


def local() -> DeviceProfile:
    return load_profile("local")


def test_clocks_are_held_until_the_client_is_left(board: Callable[[], str]) -> None:
    with open_device(local()) as client:
        client.reserve("test")
        assert client.clocks is None
        held = client.lock_clocks()
        assert (held.policy, list(held.warnings), board()) == ("locked", [], "performance")
        assert client.warnings == ()
    assert board() == "schedutil"


def test_what_the_board_refuses_is_a_warning_of_the_client(board: Callable[[], str]) -> None:
    profile = replace(local(), clocks=ClockSettings(power_mode="MAXN"))
    with open_device(profile) as client:
        client.reserve("test")
        assert client.lock_clocks().policy == "DVFS"
        assert "the active power mode cannot be read" in client.warnings[0]


def test_a_new_connection_holds_them_again(board: Callable[[], str]) -> None:
    with DeviceClient(local(), reconnect_pauses_s=(0.0,)) as client:
        holder = client.reserve("run")
        client.lock_clocks()
        os.kill(holder.agent_pid, signal.SIGKILL)
        client.keep()
        assert board() == "performance"
        assert any("they were put back" in warning for warning in client.warnings)
    assert board() == "schedutil", "what they were before the first connection"


def test_measure_holds_them_and_records_it(
    board: Callable[[], str], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["measure", model, "--lock-clocks", "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["clock_policy"] == "locked"
    assert board() == "schedutil"
    assert run_command(["measure", model, "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["clock_policy"] == "DVFS"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_host_that_is_stopped_leaves_the_clocks_as_they_were(
    board: Callable[[], str], model: str, number: signal.Signals
) -> None:
    with subprocess.Popen([*PROGRAM, "measure", model, "--lock-clocks"], stderr=subprocess.PIPE) as host:
        wait_for(lambda: board() == "performance")
        host.send_signal(number)
        host.wait(PATIENCE_S)
    assert host.returncode == (EXIT_INTERRUPTED if number == signal.SIGINT else -number)
    wait_for(lambda: board() == "schedutil")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = Deadline.after(PATIENCE_S)
    while not condition():
        assert not deadline.expired
        time.sleep(0.01)


def test_a_profile_that_does_not_know_how_is_exit_code_2(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.toml"
    text = local().source
    assert text is not None
    bare.write_text(text.read_text(encoding="utf-8").partition("[clocks]")[0], encoding="utf-8")
    assert run_command(["measure", model, "--device", str(bare), "--lock-clocks"]) == EXIT_USAGE
    assert f"--lock-clocks: expected [clocks] in {bare}" in capsys.readouterr().err
    assert run_command(["run", "--device", str(bare), "--lock-clocks"]) == EXIT_USAGE


def test_every_board_is_held_in_a_power_mode_that_it_has() -> None:
    from scbp_host.profiles import list_profiles

    for profile in list_profiles():
        assert profile.clocks != ClockSettings(), profile.name
        assert profile.clocks.power_mode in (None, *profile.hardware.power_modes), profile.name
