"""The real agent as a host meets it: a zipapp in a process of its own, spoken to over its stdin and stdout."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from scbp_agent import wire
from scbp_host.device.package import build_agent

# Far beyond what any reply takes: it only turns a hang into a failure.
PATIENCE_S = 60.0

STUB_RUNTIME = '''
"""Stands in for onnxruntime: the model's bytes say how to misbehave."""
import ctypes, os, signal, sys
import numpy

__version__ = "stub"

if "IMPORT_PEAK_BYTES" in os.environ:
    peak = bytearray(int(os.environ["IMPORT_PEAK_BYTES"]))
    peak[::4096] = b"x" * len(peak[::4096])
    del peak

class ExecutionMode: ORT_SEQUENTIAL = 0
class GraphOptimizationLevel: ORT_ENABLE_ALL = 0

def get_available_providers(): return ["CPUExecutionProvider"]

class SessionOptions:
    def add_session_config_entry(self, key, value): pass

class _Input:
    name, type, shape = "x", "tensor(float)", [1, 2]

def hang():
    if "ALIVE_FIFO" in os.environ:
        alive = os.open(os.environ["ALIVE_FIFO"], os.O_WRONLY)
        os.write(alive, b"x")
    signal.pause()

def garbage():
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"this is not JSON\\n")
        except OSError:
            pass

def bad_alloc():
    sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\\n")
    os.abort()

def out_of_memory(): raise MemoryError("cannot allocate 9 EiB")
def segfault(): ctypes.string_at(0)
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def leave():
    sys.stderr.write("first line\\nthe last words\\n")
    sys.stderr.flush()
    os._exit(3)
def chatter():
    print("hello from Python")
    sys.stdout.flush()
    os.write(1, b"hello from C\\n")
def flood():
    for _ in range(64):
        os.write(2, b"x" * 65536)
def bug(): raise KeyError("unforeseen")
def fine(): pass

class InferenceSession:
    def __init__(self, path, options, providers):
        if "OPENED_LOG" in os.environ:
            open(os.environ["OPENED_LOG"], "a").write("opened\\n")
        globals()[open(path).read().strip()]()
    def get_inputs(self): return [_Input()]
    def get_providers(self): return get_available_providers()
    def run(self, names, feed): return [feed["x"] * 2]
'''


class AgentProcess:
    """A running agent with what a host does around it: upload, ask, read the reply."""

    def __init__(self, command: list[str], workdir: Path, env: dict[str, str]) -> None:
        self.workdir = workdir
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=env)
        self._next_id = 0

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Read one reply; a silent agent is killed, so that the test fails instead of hanging."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, "the agent ended without a reply"
        return wire.decode(line)

    def post(self, method: str, **params: Any) -> int:
        """Send a request without waiting for the reply; returns its id."""
        self._next_id += 1
        self.send(wire.encode({"id": self._next_id, "method": method, "params": params}))
        return self._next_id

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request; returns the whole reply."""
        request_id = self.post(method, **params)
        reply = self.read()
        assert reply["id"] == request_id
        return reply

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        reply = self.ask(method, **params)
        assert reply["ok"], reply
        return reply["result"]

    def error(self, method: str, **params: Any) -> dict[str, Any]:
        reply = self.ask(method, **params)
        assert not reply["ok"], reply
        return reply["error"]

    def greet(self) -> AgentProcess:
        self.hello = self.result(wire.HELLO, protocol_version=wire.PROTOCOL_VERSION)
        return self

    def upload(self, name: str, content: bytes) -> None:
        (self.workdir / "incoming" / name).write_bytes(content)

    def put(self, content: bytes, encoding: str = wire.RAW) -> str:
        """Upload and admit; returns the hash."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.upload("upload.part", lzma.compress(content, preset=0) if encoding == wire.XZ else content)
        self.result(wire.ADMIT, upload="upload.part", sha256=sha256, encoding=encoding, size=len(content))
        return sha256

    def put_model(self, content: bytes, encoding: str = wire.RAW) -> dict[str, Any]:
        return {"format": "onnx", "blobs": {"model": self.put(content, encoding)}}

    def put_tensor(self, array: np.ndarray) -> dict[str, Any]:
        return {"sha256": self.put(array.tobytes()), "dtype": str(array.dtype), "shape": list(array.shape)}

    def blob_names(self) -> list[str]:
        return sorted(path.name for path in (self.workdir / "blobs").iterdir())

    def incoming_names(self) -> list[str]:
        return sorted(path.name for path in (self.workdir / "incoming").iterdir())

    def scratch_files(self) -> list[Path]:
        return [path for path in (self.workdir / "scratch").rglob("*") if path.is_file()]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            # What a dead agent did not read cannot be flushed.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture(scope="session")
def agent_pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("agent") / "agent.pyz"
    archive.write_bytes(build_agent().content)
    return archive


@pytest.fixture
def start_agent(agent_pyz: Path, tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Start agents on one workdir, or on others of one board; they are gone when the test ends."""
    started: list[AgentProcess] = []

    def start(
        *flags: str,
        program: list[str] | None = None,
        python: Path | str = sys.executable,
        folder: str = "workdir",
        **env: str,
    ) -> AgentProcess:
        workdir = tmp_path / folder
        command = [str(python), *(program or [str(agent_pyz)]), "serve", "--workdir", str(workdir), *flags]
        started.append(AgentProcess(command, workdir, {**os.environ, **env}))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def agent(start_agent: Callable[..., AgentProcess]) -> AgentProcess:
    """An agent with the real onnxruntime that has been greeted."""
    return start_agent().greet()


@pytest.fixture
def no_runtime_path(tmp_path: Path) -> str:
    """A PYTHONPATH on which no runtime can be imported, so that hello takes no time over them."""
    folder = tmp_path / "no-runtime"
    folder.mkdir()
    (folder / "onnxruntime.py").write_text("raise ImportError('not here')")
    return str(folder)


@pytest.fixture
def stub_path(tmp_path: Path) -> str:
    """A PYTHONPATH on which onnxruntime is the stub."""
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(STUB_RUNTIME)
    return str(folder)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"runtime": "onnxruntime", "threads": 1, "settings": {}}


@pytest.fixture
def linear_model() -> Callable[..., bytes]:
    """Make ``y = activation(flatten(x) @ weights)`` as an ONNX file (opset 13, IR 7), as old boards take it."""

    def make(weights: np.ndarray, input_shape: tuple[Any, ...] = (1, 3, 4, 4), activation: str = "Identity") -> bytes:
        helper, flt = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["z"]),
            helper.make_node(activation, ["z"], ["y"]),
        ]
        initializer = onnx.numpy_helper.from_array(weights.astype(np.float32), "w")
        inputs = [helper.make_tensor_value_info("x", flt, input_shape)]
        outputs = [helper.make_tensor_value_info("y", flt, (input_shape[0], weights.shape[1]))]
        graph = helper.make_graph(nodes, "linear", inputs, outputs, [initializer])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        return bytes(model.SerializeToString())

    return make
