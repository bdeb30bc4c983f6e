"""The half of TensorRT that runs engines, in NVIDIA's own bindings: the lean runtime is all of it that pip brings.

Its wheels hold the bindings of TensorRT itself, without builder and parser, and need no GPU to be looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tensorrt_standin import TABLE
from wheels import installed

from scbp_agent import wire
from scbp_agent.runtimes import tensorrt_failures

# Each in a process of its own: two versions under one name, and their libraries, do not go together.
LOOK = """
import ctypes, json, os, pathlib, sys
for library in sorted(pathlib.Path(sys.argv[1], "tensorrt_lean_libs").glob("*.so.*"), reverse=True):
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
import tensorrt_lean_bindings as lean
from scbp_agent.runtimes import tensorrt_api
classes = {name: getattr(lean, name) for name in sys.argv[2:] if hasattr(lean, name)}
members = {name: list(getattr(own, "__members__", None) or (member for member in dir(own) if member[0] != "_"))
           for name, own in classes.items()}
logger = tensorrt_api._make_logger(lean)
runtime = lean.Runtime(logger)
print(json.dumps({"version": lean.__version__, "members": members, "said": logger.take()}), flush=True)
# Without a driver its destructors crash.
os._exit(0)
"""

# The wheel's version -> the table's column, and what is newer than that column.
VERSIONS = {
    "10.16.1.11": (
        "10.13",
        {"ICudaEngine": {"get_aliased_input_tensor", "get_engine_stat"}, "IExecutionContext": {"set_communicator"}},
    ),
    "11.0.0.114": ("11.0", {}),
}


@pytest.fixture(scope="module", params=VERSIONS)
def lean(request):
    version = request.param
    wheels = (f"tensorrt-lean-cu12-{part}=={version}" for part in ("bindings", "libs"))
    folder = installed(f"tensorrt-lean-{version}", *wheels)
    search = f"import sys; sys.path[:0] = {[str(folder), *sys.path]!r}\n"
    command = [sys.executable, "-c", search + LOOK, str(folder), *TABLE]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(said.stdout)
    assert found["version"] == version
    return found


def test_the_table_says_of_them_what_they_are(lean):
    column, newer = VERSIONS[lean["version"]]
    assert {"ICudaEngine", "IExecutionContext", "Runtime", "BuilderFlag", "DataType"} <= set(lean["members"])
    for name, members in lean["members"].items():
        expected = {own for own, states in TABLE[name].items() if {column, f"{column}d"} & set(states.split())}
        assert set(members) == expected | newer.get(name, set()), name


def test_their_logger_tells_that_no_driver_answers(lean):
    failure = tensorrt_failures.failure(lean["said"], wire.ENGINE_REFUSED, "TensorRT does not load the engine")
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "CUDA initialization failure with error: 35" in failure.message
