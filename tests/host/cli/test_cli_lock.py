"""scbp-host devices lock: until Ctrl-C, or while a command runs; and what others are told meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scbp_host.cli.main import run_command
from scbp_host.errors import EXIT_DEVICE, EXIT_OK, EXIT_USAGE

PATIENCE_S = 60.0
# Ctrl-C counts here too where a shell has started the tests in the background, which makes processes ignore it.
HEEDING = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
PROGRAM = [sys.executable, "-c", HEEDING + "from scbp_host.cli.main import main; main(sys.argv[1:])"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local device of the test's own; other processes get it from the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def held() -> Iterator[subprocess.Popen[str]]:
    """Another process that has the local device."""
    with subprocess.Popen(
        [*PROGRAM, "devices", "lock", "local", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        assert json.loads("".join(lines) + "}")["purpose"] == "devices lock"
        yield process
        process.kill()


def test_a_board_in_use_is_exit_code_3_with_its_holder_and_a_way_out(
    held: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, make_onnx: Callable[..., bytes]
) -> None:
    (tmp_path / "model.onnx").write_bytes(make_onnx())
    for command in (["devices", "lock", "local", "--", "true"], ["measure", str(tmp_path / "model.onnx")]):
        assert run_command(command) == EXIT_DEVICE
        said = capsys.readouterr().err
        assert f"(process {held.pid} there)" in said
        assert ": devices lock" in said
        assert "hint: try again later, or wait for it: --wait 600" in said


def test_ctrl_c_gives_the_board_back_and_is_a_good_end(held: subprocess.Popen[str]) -> None:
    held.send_signal(signal.SIGINT)
    assert held.wait(PATIENCE_S) == EXIT_OK
    assert held.stderr is not None
    assert "Ctrl-C gives it back" in held.stderr.read()
    assert run_command(["devices", "lock", "local", "--", "true"]) == EXIT_OK


def test_waiting_outlasts_the_one_who_has_it(held: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(
        [*PROGRAM, "devices", "lock", "local", "--wait", "60", "--", "echo", "mine"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        assert "waiting for it" in waiting.stderr.readline()
        held.kill()
        assert waiting.communicate(timeout=PATIENCE_S)[0] == "mine\n"


@pytest.mark.parametrize("code", [0, 1, 130, 7])
def test_a_commands_exit_code_is_ours(code: int) -> None:
    assert run_command(["devices", "lock", "local", "--", "sh", "-c", f"exit {code}"]) == code


def test_a_command_that_died_of_a_signal_ends_as_in_a_shell() -> None:
    assert run_command(["devices", "lock", "local", "--", "sh", "-c", "kill -TERM $$"]) == 128 + signal.SIGTERM


def test_a_command_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["devices", "lock", "local", "--", "/no/such/program"]) == EXIT_USAGE
    assert "/no/such/program: cannot be started" in capsys.readouterr().err


def test_scbp_itself_runs_under_the_lock() -> None:
    inner = [*PROGRAM, "devices", "lock", "local", "--", "true"]
    assert run_command(["devices", "lock", "local", "--", *inner]) == EXIT_OK
