from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import onnxruntime

from scbp_agent import wire


def test_hello_tells_what_the_board_is_and_has(agent, agent_pyz):
    hello = agent.hello
    assert hello["protocol_version"] == wire.PROTOCOL_VERSION
    assert hello["agent_sha256"] == hashlib.sha256(agent_pyz.read_bytes()).hexdigest()
    assert hello["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert set(hello["runtimes"]) == {"onnxruntime", "ncnn"}
    assert hello["runtime_capabilities"] == {
        "onnxruntime": {"providers": onnxruntime.get_available_providers()},
        "ncnn": {},
    }
    for name in ("tensorrt", "tensorrt-rtx"):
        assert f"{name} cannot be imported" in hello["missing"][name]
        assert "NVIDIA GPU" in hello["missing"][name]
    assert hello["board"]
    assert hello["os_release"]
    assert 0 < hello["memory_available_bytes"] < hello["memory_total_bytes"]
    assert hello["disk_free_bytes"] > 0
    assert "loadavg" in hello["conditions"]
    assert hello["libraries"].keys() >= {"numpy", "onnxruntime"}
    assert hello["max_opset"]["onnxruntime"] >= 15
    assert "fp32" in hello["precisions"]["cpu"]


def test_hello_of_another_board_is_read_from_its_root(start_agent, make_board):
    hello = start_agent(SCBP_BOARD_ROOT=make_board("jetson-orin-nano")).greet().hello
    assert hello["board"].endswith("Developer Kit Super")
    assert hello["compatible"][1] == "nvidia,p3767-0005"
    assert (hello["l4t"], hello["jetpack"]) == ("36.4.3", "6.1 to 6.2")
    assert hello["power_modes"] == ["15W", "25W", "7W", "MAXN_SUPER"]
    assert hello["memory_total_bytes"] == 7802880 * 1024
    assert hello["conditions"]["power_mode"] == "MAXN_SUPER"
    assert "nvidia-jetpack" in hello["missing"]["tensorrt"]


def test_workers_read_the_same_board(start_agent, make_board, options, linear_model):
    agent = start_agent(SCBP_BOARD_ROOT=make_board("raspberry-pi-5")).greet()
    model = agent.put_model(linear_model(np.eye(48, 5)))
    result = agent.result(wire.MEASURE_SOLO, model=model, options=options, inputs=None, runs=2, deadline_s=60.0)
    assert result["conditions"]["before"]["power"]["sampler"] == "vcgencmd pmic_read_adc"


def test_agent_runs_from_a_folder_as_well(start_agent):
    hello = start_agent(program=["-m", "scbp_agent"]).greet().hello
    assert hello["agent_sha256"] == ""
    assert "onnxruntime" in hello["runtimes"]


def test_runtime_that_cannot_be_imported_is_missing_with_the_command_that_installs_it(start_agent, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no module of that name')")
    hello = start_agent(PYTHONPATH=str(tmp_path)).greet().hello
    assert "onnxruntime" not in hello["runtimes"]
    assert "pip install" in hello["missing"]["onnxruntime"]


def test_runtime_that_kills_its_importer_is_missing_and_the_agent_lives(start_agent, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    hello = start_agent(PYTHONPATH=str(tmp_path)).greet().hello
    assert "SIGILL" in hello["missing"]["onnxruntime"]
    assert "OPENBLAS_CORETYPE" in hello["missing"]["onnxruntime"]


def test_another_protocol_version_is_refused_naming_both(start_agent):
    agent = start_agent()
    error = agent.error(wire.HELLO, protocol_version=999)
    assert error["kind"] == wire.PROTOCOL_MISMATCH
    assert "999" in error["message"]
    assert f"speaks {wire.PROTOCOL_VERSION}" in error["message"]


def test_nothing_is_served_before_a_good_hello(start_agent):
    agent = start_agent()
    assert agent.error(wire.HAVE, sha256=[])["kind"] == wire.PROTOCOL_MISMATCH
    assert agent.error(wire.HELLO)["kind"] == wire.PROTOCOL_MISMATCH
    assert agent.error(wire.HAVE, sha256=[])["kind"] == wire.PROTOCOL_MISMATCH
    agent.greet()
    assert agent.result(wire.HAVE, sha256=[]) == {"missing": []}


def test_unknown_method_lists_those_there_are(agent):
    error = agent.error("measure_everything")
    assert error["kind"] == wire.BAD_REQUEST
    for method in (wire.HELLO, wire.ADMIT, wire.MEASURE_PAIRED, wire.SHUTDOWN):
        assert method in error["message"]


def test_malformed_lines_are_answered_and_the_session_goes_on(agent):
    for line in (b"{not json\n", b"[1, 2]\n", b'"text"\n', b"\xff\xfe\n", b'{"method": "hello"}\n'):
        agent.send(line)
        reply = agent.read()
        assert reply["id"] is None
        assert reply["error"]["kind"] == wire.BAD_REQUEST
    assert agent.result(wire.HAVE, sha256=[]) == {"missing": []}


def test_malformed_plan_names_the_field(agent):
    assert "'blobs'" in agent.error(wire.MEASURE_SOLO, model={"format": "onnx"})["message"]
    assert "'sha256'" in agent.error(wire.HAVE, sha256=["../../etc/passwd"])["message"]


def test_line_over_the_limit_is_refused_and_the_next_one_served(agent):
    agent.send(b'{"id": 7, "pad": "' + b"x" * wire.MAX_LINE_BYTES + b'"}\n')
    reply = agent.read()
    assert reply["error"]["kind"] == wire.BAD_REQUEST
    assert str(wire.MAX_LINE_BYTES) in reply["error"]["message"]
    assert agent.result(wire.HAVE, sha256=[]) == {"missing": []}


def test_shutdown_ends_the_agent_while_stdin_is_still_open(agent):
    assert agent.ask(wire.SHUTDOWN)["ok"]
    assert agent.process.wait(30) == 0
    assert not list((agent.workdir / "scratch").iterdir())


def test_end_of_stdin_ends_the_agent(agent):
    agent.process.stdin.close()
    assert agent.process.wait(30) == 0


def test_workdir_that_cannot_be_made_is_one_clear_line(agent_pyz, tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(agent_pyz), "serve", "--workdir", str(tmp_path / "file" / "below")]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "below" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bug_in_a_method_is_answered_and_the_session_goes_on(agent):
    for path in (agent.workdir / "blobs").iterdir():
        path.unlink()
    (agent.workdir / "blobs").rmdir()
    (agent.workdir / "blobs").write_text("a file where a folder belongs")
    agent.upload("x", b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    error = agent.error(wire.ADMIT, upload="x", sha256=sha256, encoding=wire.RAW, size=7)
    assert error["kind"] == wire.AGENT_ERROR
    assert "NotADirectoryError" in error["message"]
    assert agent.result(wire.HAVE, sha256=[sha256]) == {"missing": [sha256]}
