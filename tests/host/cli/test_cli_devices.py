"""scbp-host devices: what is shown of a profile, and which one is proposed for the board at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scbp_host.cli.main import run_command
from scbp_host.cli.proposal import profile_at, proposed_toml
from scbp_host.device.client import open_device
from scbp_host.errors import EXIT_DEVICE, EXIT_USAGE
from scbp_host.profiles import load_profile

Ask = Callable[..., tuple[str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command that must end well; returns stdout and stderr."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[str, str]:
        assert run_command(list(arguments)) == 0
        shown = capsys.readouterr()
        return shown.out, shown.err

    return run


@pytest.fixture
def at_a_board(make_board: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the local agent read another board's files."""
    return lambda name: monkeypatch.setenv("SCBP_BOARD_ROOT", make_board(name))


def test_show_prints_the_facts_of_a_profile(ask: Ask) -> None:
    out, _ = ask("devices", "show", "jetson-nano", "--json")
    facts = json.loads(out)
    assert facts["hardware"]["power_modes"] == ["MAXN", "5W"]
    assert facts["reference_latency_ms"]["ResNet-18, TensorRT FP16"] == 11.4
    out, _ = ask("devices", "show", "jetson-nano")
    assert "5.3" in out
    assert "peak_int8_gops" not in out, "what is not known is not shown"


@pytest.mark.parametrize("board", ["jetson-nano", "raspberry-pi-5"])
def test_probe_names_the_profile_of_the_board_at_hand(ask: Ask, at_a_board: Callable[[str], None], board: str) -> None:
    at_a_board(board)
    out, err = ask("devices", "probe", "local")
    assert f'extends = "{board}"' in err
    assert board in out


def test_probe_proposes_nothing_for_a_machine_it_does_not_know(ask: Ask, at_a_board: Callable[[str], None]) -> None:
    at_a_board("pc")
    out, err = ask("devices", "probe", "local", "--json")
    assert json.loads(out)["profile"] is None
    assert "extends" not in err


def test_a_board_without_a_profile_is_probed_by_its_address_and_gets_one(
    ask: Ask, sshd: Any, device_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = ["devices", "probe", f"{sshd.user}@127.0.0.1:{sshd.port}", "--key", str(sshd.key)]
    assert run_command(address) == EXIT_DEVICE
    (pin,) = re.findall(r'add: --host-key "(.+)"', capsys.readouterr().err)
    out, err = ask(*address, "--host-key", pin, "--python", str(device_python), "--json")
    file = tmp_path / "config" / "scbp" / "devices" / "kitchen.toml"
    file.parent.mkdir(parents=True)
    file.write_text(json.loads(out)["proposal"], encoding="utf-8")
    out, err = ask("devices", "probe", "kitchen", "--json")
    assert "onnxruntime" in json.loads(out)["runtimes"]
    assert err == ""
    _, err = ask(*address, "--host-key", pin, "--python", str(device_python))
    assert str(file.parent) in err
    assert f'host_key = "{pin}"' in err


@pytest.mark.parametrize(
    ("board", "base", "words"),
    [
        ("jetson-nano", "jetson-nano", ['runtime = "onnxruntime"  # the board does not have tensorrt']),
        ("raspberry-pi-5", "raspberry-pi-5", []),
        ("pc", "local", ['title = "Example CPU @ 2.00GHz (x86_64)"', "memory_gb = 16"]),
    ],
)
def test_the_proposal_says_what_the_board_says(
    at_a_board: Callable[[str], None], tmp_path: Path, board: str, base: str, words: list[str]
) -> None:
    at_a_board(board)
    asked = profile_at("me@10.0.0.5", None, "ssh-ed25519 AAAA", None)
    with open_device(load_profile("local"), tmp_path / "agent") as client:
        text = proposed_toml(asked, client.info)
    file = tmp_path / "board.toml"
    file.write_text(text, encoding="utf-8")
    profile = load_profile(str(file))
    assert f'extends = "{base}"' in text.splitlines()
    assert [word for word in words if word not in text.splitlines()] == []
    assert (profile.ssh, profile.transport, profile.runtime) == (asked.ssh, "ssh", "onnxruntime")


@pytest.mark.parametrize(
    "arguments",
    [["me@"], ["me@host:x"], ["@host"], ["local", "--host-key", "ssh-ed25519 AAAA"], ["local", "--python", "p"]],
)
def test_an_address_that_is_none_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["devices", "probe", *arguments]) == EXIT_USAGE
    assert "USER@HOST" in capsys.readouterr().err
