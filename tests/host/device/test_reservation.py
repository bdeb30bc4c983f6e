"""Having a board to oneself: two real sessions, as child processes and over a real sshd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scbp_agent import wire
from scbp_host.device import reservation
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.device import DeviceProfile
from scbp_host.errors import EXIT_DEVICE, BoardBusy
from scbp_host.profiles import load_profile

WriteProfile = Callable[..., Path]

# Far beyond what is waited for: it only turns a hang into a failure.
PATIENCE_S = 60.0

# Another host: has the board until its stdin ends.
OTHER_HOST = """
import sys
from scbp_host.device.client import open_device
from scbp_host.profiles import load_profile
with open_device(load_profile(sys.argv[1])) as client:
    print(client.reserve("a long night").agent_pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["local", "ssh"])
def file(request: pytest.FixtureRequest, write_profile: WriteProfile) -> Path:
    """The profile of one device, reached in either way."""
    path = write_profile()
    if request.param == "local":
        path.write_text(path.read_text().replace('"ssh"', '"local"').split("[ssh]")[0], encoding="utf-8")
    return path


@pytest.fixture
def profile(file: Path) -> DeviceProfile:
    return load_profile(str(file))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "POLL_S", 0.02)


def test_a_board_that_another_session_has_is_busy_and_can_still_be_probed(profile: DeviceProfile) -> None:
    with open_device(profile) as first, open_device(profile) as second:
        holder = first.reserve("a long night")
        assert (holder.purpose, holder.pid) == ("a long night", os.getpid())
        with pytest.raises(BoardBusy, match=rf"board: .*{holder.owner}.*since {holder.since}: a long night") as caught:
            second.reserve("mine")
        assert caught.value.exit_code == EXIT_DEVICE
        assert caught.value.transient
        assert "--wait" in caught.value.hint
        with open_device(profile) as third:
            assert third.info.facts["lock"] == holder._asdict()


def test_waiting_for_a_board_tells_who_has_it_once(profile: DeviceProfile) -> None:
    told: list[str] = []
    with open_device(profile) as first, open_device(profile) as second:
        first.reserve("a long night")
        leaving = threading.Timer(0.3, lambda: first.__exit__(None, None, None))
        leaving.start()
        assert second.reserve("mine", PATIENCE_S, told.append).purpose == "mine"
        leaving.join()
    assert len(told) == 1
    assert "a long night; waiting for it" in told[0]


@pytest.mark.parametrize("victim", ["host", "agent"])
def test_the_board_of_what_was_killed_is_free(file: Path, profile: DeviceProfile, victim: str) -> None:
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([sys.executable, "-c", OTHER_HOST, str(file)], stdin=pipe, stdout=pipe, text=True) as other,
        open_device(profile) as client,
    ):
        assert other.stdout is not None
        agent_pid = int(other.stdout.readline())
        with pytest.raises(BoardBusy):
            client.reserve("mine")
        os.kill(other.pid if victim == "host" else agent_pid, signal.SIGKILL)
        assert client.reserve("mine", PATIENCE_S).purpose == "mine"
        other.kill()


def test_a_connection_that_is_made_again_takes_the_board_again(profile: DeviceProfile) -> None:
    with DeviceClient(profile, reconnect_pauses_s=(0.0,)) as client, open_device(profile) as other:
        before = client.reserve("mine")
        os.kill(before.agent_pid, signal.SIGKILL)
        after = client.keep()
        assert (after.session, after.purpose) == (before.session, "mine")
        assert after.agent_pid != before.agent_pid
        with pytest.raises(BoardBusy):
            other.reserve("theirs")


def test_what_measures_without_a_reservation_makes_one(profile: DeviceProfile, make_onnx: Callable[..., bytes]) -> None:
    with open_device(profile) as first, open_device(profile) as second:
        sha256 = first.ship(make_onnx(), pack=True)
        assert isinstance(sha256, str)
        plan = wire.SoloPlan(
            wire.ModelRef("onnx", {"model": sha256}), wire.RuntimeOptions("onnxruntime", 1, {}), None, 1, PATIENCE_S
        )
        assert isinstance(first.measure_solo(plan), wire.SoloResult)
        with pytest.raises(BoardBusy, match="measure_solo"):
            second.measure_solo(plan)


def test_a_command_under_the_lock_has_the_board_too(profile: DeviceProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_device(profile) as lender, open_device(profile) as guest:
        holder = lender.reserve("devices lock")
        monkeypatch.setenv(reservation.LENT_VARIABLE, holder.session)
        assert guest.reserve("run").purpose == "devices lock"
