"""What every transport promises, shown with each of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scbp_host.domain.deadline import Deadline
from scbp_host.errors import DeviceError, DeviceTimeout, DeviceUnreachable, ProtocolError
from scbp_host.profiles import load_profile
from scbp_host.transport import streams
from scbp_host.transport.base import Channel, Transport, open_transport

SOON = 20.0

ECHO = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line[::-1].strip() + b"\\n")
    sys.stdout.flush()
"""


@pytest.fixture(params=["local", "ssh"])
def transport(request: pytest.FixtureRequest, write_profile: Callable[..., Path]) -> Iterator[Transport]:
    profile = load_profile("local" if request.param == "local" else str(write_profile()))
    with open_transport(replace(profile, name="board")) as transport:
        yield transport


def start(transport: Transport, program: str, *arguments: str) -> Channel:
    return transport.open_channel([sys.executable, "-c", program, *arguments], Deadline.after(SOON))


def test_put_writes_all_of_it_and_makes_the_folders(transport: Transport, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    transport.put(content, f"{tmp_path}/a/b c/file", Deadline.after(SOON))
    assert (tmp_path / "a" / "b c" / "file").read_bytes() == content


def test_put_takes_a_file_and_replaces_what_is_there(transport: Transport, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(b"new")
    transport.put(b"old and longer", str(target), Deadline.after(SOON))
    transport.put(source, str(target), Deadline.after(SOON))
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_relative_path_starts_at_the_login_folder(transport: Transport, tmp_path: Path) -> None:
    relative = os.path.relpath(tmp_path / "there", Path.home())
    transport.put(b"x", relative, Deadline.after(SOON))
    channel = start(transport, "import sys; print(open(sys.argv[1]).read())", relative)
    assert channel.receive(Deadline.after(SOON)) == b"x"


def test_a_refused_put_names_the_path_and_leaves_nothing(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(DeviceError, match=r"board: cannot write .*/taken") as caught:
        transport.put(b"x", f"{tmp_path}/taken", Deadline.after(SOON))
    assert not caught.value.transient
    assert not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob(".*.part"))


def test_lines_go_there_and_back(transport: Transport) -> None:
    channel = start(transport, ECHO)
    long = b"ab" * 200_000
    for line in (b"abc", b"", long):
        channel.send(line + b"\n", Deadline.after(SOON))
        assert channel.receive(Deadline.after(SOON)) == line[::-1]


def test_no_shell_interprets_the_arguments(transport: Transport, tmp_path: Path) -> None:
    nasty = [f"$(touch {tmp_path}/owned)", "a b", "'", '"', ";", "*", "", "ü"]
    channel = start(transport, "import sys, json; print(json.dumps(sys.argv[1:]))", *nasty)
    assert json.loads(channel.receive(Deadline.after(SOON))) == nasty
    assert not (tmp_path / "owned").exists()


def test_a_process_that_ends_is_unreachable_and_its_last_words_are_told(transport: Transport) -> None:
    channel = start(transport, "import sys; print('only'); sys.exit('first\\nthe disk is on fire')")
    assert channel.receive(Deadline.after(SOON)) == b"only"
    for _ in range(2):
        with pytest.raises(DeviceUnreachable, match="the disk is on fire") as caught:
            channel.receive(Deadline.after(SOON))
    assert caught.value.hint == "run: scbp-host devices probe board"
    assert channel.stderr_tail() == "first\nthe disk is on fire"


def test_no_answer_in_time_is_a_timeout(transport: Transport) -> None:
    channel = start(transport, "import time; time.sleep(60)")
    with pytest.raises(DeviceTimeout, match=r"board: no answer within 0\.2 s"):
        channel.receive(Deadline.after(0.2))


def test_a_process_that_does_not_read_is_a_timeout(transport: Transport) -> None:
    channel = start(transport, "import time; time.sleep(60)")
    with pytest.raises(DeviceTimeout, match="sending a request took more than"):
        channel.send(b"x" * 20_000_000, Deadline.after(0.5))


def test_a_missing_program_is_unreachable(transport: Transport) -> None:
    with pytest.raises(DeviceUnreachable, match="no-such-python"):
        transport.open_channel(["/no-such-python", "x"], Deadline.after(SOON)).receive(Deadline.after(SOON))


def test_much_stderr_blocks_nobody_and_only_its_end_is_kept(transport: Transport) -> None:
    program = "sys.stderr.write('x' * 3_000_000 + 'end'); print('done', flush=True); sys.stdin.read()"
    channel = start(transport, f"import sys; {program}")
    assert channel.receive(Deadline.after(SOON)) == b"done"
    channel.close()
    assert len(channel.stderr_tail()) <= 16 * 1024


def test_an_endless_line_is_not_the_protocol(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 100_000)
    channel = start(transport, "import sys\nwhile True: sys.stdout.write('x' * 10_000)")
    with pytest.raises(ProtocolError, match="100000 bytes"):
        channel.receive(Deadline.after(SOON))


def test_closing_ends_the_process(transport: Transport) -> None:
    channel = start(transport, "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()")
    pid = int(channel.receive(Deadline.after(SOON)))
    channel.close()
    channel.close()
    deadline = Deadline.after(SOON)
    while Path(f"/proc/{pid}").exists() and not deadline.expired:
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists()
