"""What SSH adds to the contract: pinned keys, logins, lost connections; against a real sshd."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from paramiko import ssh_exception

from scbp_host.domain.deadline import Deadline
from scbp_host.errors import (
    EXIT_DEVICE,
    EXIT_USAGE,
    ConfigError,
    DeviceError,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyError,
    LoginError,
)
from scbp_host.profiles import load_profile
from scbp_host.transport import ssh
from scbp_host.transport.base import Transport, open_transport

WriteProfile = Callable[..., Path]
SOON = 20.0


def connect(profile: Path) -> Transport:
    return open_transport(load_profile(str(profile)))


@contextmanager
def proxy(port: int, limit_bytes: int, then: str) -> Iterator[int]:
    """Forward one connection to ``port`` until so many bytes went there; then ``cut`` or ``stall`` it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as there:
        here: list[socket.socket] = []
        thread = threading.Thread(target=_forward, args=(server, there, here, port, limit_bytes, then), daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        for connection in here:
            connection.close()
    thread.join(SOON)


def _forward(
    server: socket.socket, there: socket.socket, here: list[socket.socket], port: int, left: int, then: str
) -> None:
    connection, _ = server.accept()
    here.append(connection)
    there.connect(("127.0.0.1", port))
    threading.Thread(target=_pump, args=(there, connection), daemon=True).start()
    while left > 0 and (data := connection.recv(min(left, 65536))):
        there.sendall(data)
        left -= len(data)
    if then == "cut":
        connection.shutdown(socket.SHUT_RDWR)
        there.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass


def fingerprint(key: str) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=key, check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


def test_a_host_key_that_is_not_pinned_stops_with_the_line_that_pins_it(write_profile: WriteProfile, sshd) -> None:
    profile = write_profile(host_key="")
    key = sshd.host_keys["ssh-ed25519"]
    with pytest.raises(HostKeyError, match="is not pinned yet") as caught, connect(profile):
        pass
    assert fingerprint(key) in caught.value.message
    assert fingerprint(key) in caught.value.hint
    assert f'host_key = "{key}"' in caught.value.hint.splitlines()
    assert str(profile) in caught.value.hint
    assert caught.value.exit_code == EXIT_DEVICE


def test_the_line_that_the_error_shows_does_pin_it(write_profile: WriteProfile) -> None:
    with pytest.raises(HostKeyError) as caught, connect(write_profile(host_key="")):
        pass
    (line,) = [line for line in caught.value.hint.splitlines() if line.startswith("host_key")]
    with connect(write_profile(host_key=line.split('"')[1])):
        pass


def test_a_changed_host_key_stops_before_any_login(write_profile: WriteProfile, sshd) -> None:
    other = sshd.stranger.with_suffix(".pub").read_text(encoding="utf-8").strip()
    before = sshd.log.read_text(encoding="utf-8").count("Accepted")
    with pytest.raises(HostKeyError, match="has changed") as caught, connect(write_profile(host_key=other)):
        pass
    assert fingerprint(sshd.host_keys["ssh-ed25519"]) in caught.value.message
    assert not caught.value.transient
    assert sshd.log.read_text(encoding="utf-8").count("Accepted") == before


def test_a_pinned_key_of_a_type_that_the_server_lacks_is_a_changed_key(write_profile: WriteProfile, tmp_path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", tmp_path / "rsa"], check=True)
    key = (tmp_path / "rsa.pub").read_text(encoding="utf-8").strip()
    with pytest.raises(HostKeyError, match="has changed"), connect(write_profile(host_key=key)):
        pass


def test_of_several_host_keys_the_pinned_type_is_asked_for(write_profile: WriteProfile, sshd) -> None:
    with connect(write_profile(host_key=sshd.host_keys["ecdsa-sha2-nistp256"] + " a comment")):
        pass


def test_a_key_that_the_board_does_not_know_is_refused(write_profile: WriteProfile, sshd) -> None:
    profile = write_profile(key=str(sshd.stranger))
    with pytest.raises(LoginError, match="refused the user or the key") as caught, connect(profile):
        pass
    assert not caught.value.transient
    assert caught.value.hint == "run: scbp-host devices probe board"


def test_keys_of_the_home_folder_are_not_tried(write_profile: WriteProfile, sshd, tmp_path, monkeypatch) -> None:
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    (home / "id_ed25519").write_bytes(sshd.key.read_bytes())
    monkeypatch.setenv("HOME", str(home.parent))
    with pytest.raises(LoginError), connect(write_profile(key=str(sshd.stranger))):
        pass


def test_the_ssh_agent_is_asked_only_where_the_profile_allows_it(
    write_profile: WriteProfile, sshd, tmp_path, monkeypatch
) -> None:
    with running_ssh_agent(tmp_path / "agent.sock", sshd.key):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent.sock"))
        with connect(write_profile(key=str(sshd.stranger), allow_agent=True)):
            pass
        with pytest.raises(LoginError), connect(write_profile(key=str(sshd.stranger), allow_agent=False)):
            pass


@contextmanager
def running_ssh_agent(path: Path, key: Path) -> Iterator[None]:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    deadline = Deadline.after(SOON)
    while subprocess.run(["ssh-add", "-q", key], env={"SSH_AUTH_SOCK": str(path)}, capture_output=True).returncode:
        assert not deadline.expired
    yield
    agent.terminate()
    agent.wait()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"not a key", "expected a private key's file")],
    ids=["missing", "broken"],
)
def test_a_private_key_that_cannot_be_read_is_the_profiles_fault(
    write_profile: WriteProfile, tmp_path: Path, content: bytes | None, message: str
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        connect(write_profile(key=str(key)))
    assert caught.value.exit_code == EXIT_USAGE
    assert "board.toml" in caught.value.message


def test_a_key_with_a_passphrase_points_to_the_ssh_agent(write_profile: WriteProfile, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key"], check=True)
    with pytest.raises(ConfigError, match="without a passphrase") as caught:
        connect(write_profile(key=str(tmp_path / "key")))
    assert "allow_agent = true" in caught.value.hint


def test_nobody_listens_there(write_profile: WriteProfile) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, and refused since it does not listen
        profile = write_profile(port=bound.getsockname()[1])
        with pytest.raises(DeviceUnreachable, match="refused") as caught, connect(profile):
            pass
    assert caught.value.hint == "run: scbp-host devices probe board"
    assert caught.value.exit_code == EXIT_DEVICE


def test_a_host_name_that_does_not_exist(write_profile: WriteProfile) -> None:
    with pytest.raises(DeviceUnreachable, match="host name"), connect(write_profile(host="no-such-board.invalid")):
        pass


def test_a_server_that_never_greets(write_profile: WriteProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_STEP_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        profile = write_profile(port=silent.getsockname()[1])
        with pytest.raises(DeviceUnreachable, match="banner"), connect(profile):
            pass


def test_connecting_has_a_deadline_outside_paramiko(write_profile: WriteProfile, monkeypatch) -> None:
    monkeypatch.setattr(ssh, "_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        profile = write_profile(port=silent.getsockname()[1])
        with pytest.raises(DeviceTimeout, match=r"connecting took more than 0\.3 s"), connect(profile):
            pass


def test_an_upload_that_is_cut_off_leaves_no_file(write_profile: WriteProfile, sshd, tmp_path: Path) -> None:
    with proxy(sshd.port, limit_bytes=500_000, then="cut") as port, connect(write_profile(port=port)) as transport:
        with pytest.raises(DeviceUnreachable):
            transport.put(b"x" * 5_000_000, f"{tmp_path}/up/model", Deadline.after(SOON))
        assert not (tmp_path / "up" / "model").exists()


def test_an_upload_that_stalls_ends_at_its_deadline(write_profile: WriteProfile, sshd, tmp_path: Path) -> None:
    with proxy(sshd.port, limit_bytes=500_000, then="stall") as port, connect(write_profile(port=port)) as transport:
        with pytest.raises(DeviceTimeout, match="uploading"):
            transport.put(b"x" * 50_000_000, f"{tmp_path}/up/model", Deadline.after(1.0))
        assert not (tmp_path / "up" / "model").exists()
        with pytest.raises(DeviceUnreachable):
            transport.put(b"x", f"{tmp_path}/up/model", Deadline.after(SOON))


def test_a_lost_connection_ends_what_waits_for_a_line(write_profile: WriteProfile, sshd, tmp_path: Path) -> None:
    with proxy(sshd.port, limit_bytes=100_000, then="cut") as port, connect(write_profile(port=port)) as transport:
        channel = transport.open_channel(["sleep", "60"], Deadline.after(SOON))
        with pytest.raises(DeviceUnreachable):
            transport.put(b"x" * 1_000_000, f"{tmp_path}/file", Deadline.after(SOON))
        with pytest.raises(DeviceUnreachable, match="the agent is gone"):
            channel.receive(Deadline.after(SOON))


def paramikos_exceptions() -> list[type[Exception]]:
    return [
        value
        for value in vars(ssh_exception).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == ssh_exception.__name__
    ]


@pytest.mark.parametrize("kind", paramikos_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_paramiko_has_a_meaning_of_its_own(kind: type[Exception]) -> None:
    assert kind in ssh.MEANINGS


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (paramiko.AuthenticationException("no"), LoginError),
        (ssh_exception.IncompatiblePeer("no"), DeviceError),
        (ConnectionResetError(104, "reset by peer"), DeviceUnreachable),
        (socket.gaierror(-2, "unknown"), DeviceUnreachable),
        (TimeoutError("late"), DeviceTimeout),
        (EOFError(), DeviceUnreachable),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_nearest_meaning_counts(error: Exception, expected: type[DeviceError]) -> None:
    translated = ssh.to_device_error("board", error)
    assert type(translated) is expected
    assert "\n" not in translated.message
