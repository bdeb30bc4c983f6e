"""The device client with the real agent, as a child process and over a real sshd."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scbp_agent import wire
from scbp_host.device import client as client_module
from scbp_host.device import connection
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.device.package import build_agent
from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import (
    EXIT_USAGE,
    CapabilityError,
    ConfigError,
    DeviceError,
    DeviceTimeout,
    DeviceUnreachable,
    ProtocolError,
)
from scbp_host.profiles import load_profile

MakeOnnx = Callable[..., bytes]
WriteProfile = Callable[..., Path]
OPTIONS = wire.RuntimeOptions("onnxruntime", 1, {})


@pytest.fixture(params=["local", "ssh"])
def profile(request: pytest.FixtureRequest, write_profile: WriteProfile, tmp_path: Path) -> DeviceProfile:
    """One device, reached in either way."""
    written = load_profile(str(write_profile()))
    return written if request.param == "ssh" else replace(load_profile("local"), workdir=written.workdir)


@pytest.fixture
def local(tmp_path: Path) -> DeviceProfile:
    return replace(load_profile("local"), workdir=str(tmp_path / "agent"))


def agent_file(profile: DeviceProfile) -> Path:
    return Path(profile.workdir) / "agents" / build_agent().name


def model(sha256: str | Failure) -> wire.ModelRef:
    assert isinstance(sha256, str), sha256
    return wire.ModelRef("onnx", {"model": sha256})


def paired_plan(client: DeviceClient, onnx: bytes, block_s: float = 0.002) -> wire.PairedPlan:
    ref = model(client.ship(onnx, pack=True))
    return wire.PairedPlan((wire.RoundModel(ref, OPTIONS),) * 2, None, 1, 4, round(block_s * 1e9), 1_000_000, 60.0)


def test_a_device_is_probed_measured_and_asked(profile: DeviceProfile, make_onnx: MakeOnnx) -> None:
    with open_device(profile) as client:
        assert client.info.protocol_version == wire.PROTOCOL_VERSION
        assert client.info.agent_sha256 == build_agent().sha256
        assert "onnxruntime" in client.info.runtimes
        paired = client.measure_paired(paired_plan(client, make_onnx()))
        assert isinstance(paired, wire.PairedResult)
        assert [len(own.blocks_ns) for own in paired.models] == [4, 4]
        ref = model(client.ship(make_onnx(), pack=True))
        solo = client.measure_solo(wire.SoloPlan(ref, OPTIONS, None, 2, 60.0))
        assert isinstance(solo, wire.SoloResult)
        assert solo.peak_rss_bytes > solo.baseline_rss_bytes
        layers = client.measure_layers(wire.LayersPlan(ref, OPTIONS, None, 1, 2, 60.0))
        assert isinstance(layers, wire.LayersResult)
        assert "Conv" in {node.op_type for node in layers.nodes}
        array = np.zeros((2, 3, 8, 8), "<f4")
        sent = client.ship(array.tobytes(), pack=False)
        assert isinstance(sent, str)
        tensor = wire.TensorRef(sent, "float32", array.shape)
        inferred = client.infer(wire.InferPlan(ref, OPTIONS, tensor, None, 60.0))
        assert isinstance(inferred, wire.InferResult)
        assert inferred.shape == (2, 8)


def test_the_device_cannot_import_the_host(device_python: Path) -> None:
    # As sshd starts it: without the tester's own environment, which may say where the host's packages lie.
    def imports(names: str) -> bool:
        return (
            subprocess.run(
                [device_python, "-c", f"import {names}"], check=False, env={}, capture_output=True
            ).returncode
            == 0
        )

    assert not any(imports(name) for name in ("scbp_host", "scbp_agent", "torch", "paramiko"))
    assert imports("numpy, onnxruntime")


def test_a_second_connection_sends_nothing_again(profile: DeviceProfile, make_onnx: MakeOnnx) -> None:
    with open_device(profile) as first:
        first.ship(make_onnx(), pack=True)
        assert first.bytes_shipped > len(build_agent().content)
    written = agent_file(profile).stat()
    with open_device(profile) as second:
        sha256 = second.ship(make_onnx(), pack=True)
        assert second.bytes_shipped == 0
        assert isinstance(sha256, str)
        assert second.wire_bytes(sha256) == first.wire_bytes(sha256), "its size on the wire, sent or not"
    assert agent_file(profile).stat().st_ino == written.st_ino


def test_bytes_are_counted_as_packed(local: DeviceProfile, make_onnx: MakeOnnx) -> None:
    structure = make_onnx(128, filler=True)
    with open_device(local) as client:
        before = client.bytes_shipped
        packed = client.ship(structure, pack=True)
        assert isinstance(packed, str)
        assert client.bytes_shipped - before == client.wire_bytes(packed)
        assert client.bytes_shipped - before < len(structure) / 10
        raw = client.ship(make_onnx(16), pack=False)
        assert isinstance(raw, str)
        assert client.wire_bytes(raw) == len(make_onnx(16))
        assert not list((Path(local.workdir) / "incoming").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "another agent", "no agent"])
def test_a_damaged_agent_is_uploaded_again(local: DeviceProfile, damage: str) -> None:
    with open_device(local):
        pass
    content = build_agent().content
    broken = {"truncated": content[:1000], "another agent": b"#!/usr/bin/python\n" + content, "no agent": b"print(1)"}
    agent_file(local).write_bytes(broken[damage])
    with open_device(local) as client:
        assert client.info.agent_sha256 == build_agent().sha256
        assert client.bytes_shipped == len(content)
    assert agent_file(local).read_bytes() == content


def test_a_runtime_that_the_device_lacks_comes_with_the_agents_advice(local: DeviceProfile) -> None:
    with open_device(local) as client:
        client.require_runtime("onnxruntime")
        with pytest.raises(CapabilityError, match=r"no runtime 'tensorrt'; the device has: .*onnxruntime ") as caught:
            client.require_runtime("tensorrt")
        assert caught.value.hint == client.info.facts["missing"]["tensorrt"]


def test_a_setting_that_the_runtime_does_not_have_is_an_error_of_the_profile(local: DeviceProfile) -> None:
    with open_device(replace(local, runtime_settings={"precison": "fp16"})) as client:
        with pytest.raises(
            ConfigError, match=r"'runtime_settings\.precison': unknown; onnxruntime on local has: "
        ) as caught:
            client.require_runtime("onnxruntime")
        assert caught.value.exit_code == EXIT_USAGE


def test_a_board_that_is_not_the_profiles_is_warned_of(local: DeviceProfile) -> None:
    with open_device(local) as client:
        assert client.warnings == ()
    with open_device(replace(local, device_tree_model="NVIDIA Jetson Nano")) as client:
        (warning,) = client.warnings
        assert "NVIDIA Jetson Nano" in warning
        assert client.info.board in warning
    with open_device(replace(local, compatible=("nvidia,p3767-0000",))) as client:
        assert "p3767-0000" in client.warnings[0]
    with open_device(replace(local, device_tree_model=client.info.board[3:], compatible=("other",))) as client:
        assert client.warnings == ()


def test_a_slow_board_gets_more_time(local: DeviceProfile, make_onnx: MakeOnnx) -> None:
    hurried = 0.001
    with open_device(local) as client, open_device(replace(local, timeout_scale=60 / hurried)) as patient:
        plan = paired_plan(client, make_onnx())._replace(deadline_s=hurried)
        failure = client.measure_paired(plan)
        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.TIMEOUT
        client.__exit__(None, None, None)
        assert isinstance(patient.measure_paired(plan), wire.PairedResult)


def test_a_model_that_is_none_is_a_value(local: DeviceProfile, make_onnx: MakeOnnx) -> None:
    with open_device(local) as client:
        ref = model(client.ship(b"not an ONNX", pack=False))
        failure = client.measure_solo(wire.SoloPlan(ref, OPTIONS, None, 1, 60.0))
        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.BAD_MODEL
        assert isinstance(client.measure_paired(paired_plan(client, make_onnx())), wire.PairedResult)


def test_an_agent_killed_in_the_middle_is_started_again(profile: DeviceProfile, make_onnx: MakeOnnx) -> None:
    with DeviceClient(profile, reconnect_pauses_s=(0.0,)) as client:
        plan = paired_plan(client, make_onnx(), block_s=0.1)
        with killing_the_agent_once(profile) as killed:
            assert isinstance(client.measure_paired(plan), wire.PairedResult)
        assert len(killed) == 1
        assert agents(profile)
        assert killed[0] not in agents(profile)


def test_an_agent_that_is_lost_for_good_is_unreachable(local: DeviceProfile, make_onnx: MakeOnnx) -> None:
    with DeviceClient(local, reconnect_pauses_s=()) as client:
        plan = paired_plan(client, make_onnx(), block_s=0.1)
        with killing_the_agent_once(local), pytest.raises(DeviceUnreachable, match="local: the agent is gone"):
            client.measure_paired(plan)


def test_after_a_timeout_the_late_reply_meets_no_other_request(
    local: DeviceProfile, make_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DeviceClient(local, reconnect_pauses_s=()) as client:
        plan = paired_plan(client, make_onnx())
        with monkeypatch.context() as patch:
            patch.setattr(client_module, "_MARGIN_S", 0.05 - plan.deadline_s)
            with pytest.raises(DeviceTimeout, match=r"no answer within 0\.05 s"):
                client.measure_paired(plan)
        solo = client.measure_solo(wire.SoloPlan(plan.models[0].model, OPTIONS, None, 2, 60.0))
        assert isinstance(solo, wire.SoloResult)


def test_a_peer_that_never_answers_is_a_timeout(
    local: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_HELLO_S", 0.2)
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nwhile read -r line; do :; done\n", encoding="utf-8")
    silent.chmod(0o755)
    with pytest.raises(DeviceTimeout, match="local: no answer"), open_device(replace(local, python=str(silent))):
        pass


def test_leaving_ends_the_agent(profile: DeviceProfile) -> None:
    with open_device(profile):
        assert len(agents(profile)) == 1
    deadline = Deadline.after(20.0)
    while agents(profile):
        assert not deadline.expired


def agents(profile: DeviceProfile) -> list[int]:
    """Return the process ids of the agents of this device."""
    needle = [agent_file(profile).as_posix().encode(), b"serve"]
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:3] == needle:
            found.append(int(path.parent.name))
    return found


def working(agent: int) -> bool:
    """Whether the agent has a child, which is a worker."""
    return any(path.read_text().strip() for path in Path(f"/proc/{agent}/task").glob("*/children"))


@contextmanager
def killing_the_agent_once(profile: DeviceProfile) -> Iterator[list[int]]:
    """Kill the running agent as soon as it has a worker; gives the list of those killed."""
    (agent,) = agents(profile)
    killed: list[int] = []

    def kill() -> None:
        deadline = Deadline.after(20.0)
        while not working(agent) and not deadline.expired:
            time.sleep(0.005)
        os.kill(agent, signal.SIGKILL)
        killed.append(agent)

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    thread.join()


# A peer that is not our agent: it stands in the place of the board's Python and answers every line with REPLY.
IMPOSTOR = """#!{python}
import sys
for line in sys.stdin:
    print({reply!r}, flush=True)
"""


@pytest.fixture
def impostor(local: DeviceProfile, tmp_path: Path) -> Callable[[str], DeviceProfile]:
    def make(reply: str) -> DeviceProfile:
        path = tmp_path / "python"
        path.write_text(IMPOSTOR.format(python=local.python, reply=reply), encoding="utf-8")
        path.chmod(0o755)
        return replace(local, python=str(path))

    return make


FACTS = (
    '"protocol_version": 1, "board": "b", "os_release": "o", "python": "3", "runtimes": {}, "compatible": [],'
    ' "agent_sha256": "' + "0" * 64 + '"'
)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("Welcome to Ubuntu 18.04", "not a JSON line: b'Welcome to Ubuntu"),
        ("[1]", "expected a JSON object"),
        ('{"id": 7, "ok": true, "result": {}}', "expected the reply to request 1"),
        ('{"id": 1, "ok": true}', "field 'result' is missing"),
        ('{"id": 1, "ok": true, "result": {}}', "field 'agent_sha256' is missing"),
        ('{"id": 1, "ok": true, "result": {' + FACTS + "}}", "expected agent [0-9a-f]{12}, but 000000000000 runs"),
        (
            '{"id": 1, "ok": false, "error": {"kind": "PROTOCOL_MISMATCH", "message": "host 1, agent 2", "hint": ""}}',
            "host 1, agent 2",
        ),
    ],
    ids=["banner", "list", "other id", "no result", "no facts", "other agent", "other version"],
)
def test_what_is_not_our_agent_is_a_protocol_error(
    impostor: Callable[[str], DeviceProfile], reply: str, message: str
) -> None:
    with pytest.raises(ProtocolError, match=message) as caught, open_device(impostor(reply)):
        pass
    assert "scbp-host devices probe local" in caught.value.hint


def test_an_agent_that_fails_at_hello_tells_why(impostor: Callable[[str], DeviceProfile]) -> None:
    error = '{"kind": "AGENT_ERROR", "message": "OSError: /proc is not mounted", "hint": "mount it"}'
    with pytest.raises(DeviceError, match="/proc is not mounted") as caught:
        open_device(impostor('{"id": 1, "ok": false, "error": ' + error + "}")).__enter__()
    assert not isinstance(caught.value, ProtocolError)
    assert caught.value.hint == "mount it"


def test_a_board_without_that_python_tells_what_its_shell_said(write_profile: WriteProfile) -> None:
    profile = replace(load_profile(str(write_profile())), python="/opt/no-python")
    with pytest.raises(DeviceUnreachable, match=r"its last words: .*/opt/no-python"), open_device(profile):
        pass
