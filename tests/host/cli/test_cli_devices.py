"""scbp-host devices: what is shown of a profile, and which one is proposed for the board at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scbp_host.cli.main import run_command

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
