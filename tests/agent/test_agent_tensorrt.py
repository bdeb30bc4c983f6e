"""TensorRT as the host meets it: the real agent and its workers, over stand-ins of the library and the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scbp_agent import wire

TESTS = Path(__file__).parents[1]
DEADLINE_S = 60.0
MIB = 1024**2

# What stands for a Jetson's packages. Each process of the agent imports its own.
BOARD = """
import os
import signal
import sys
from gpu_standin import Gpu, pycuda_modules
from tensorrt_standin import Standin


def killed(state):
    with open({log!r}, "a") as log:
        log.write("%d\\n" % (state["workspace_bytes"] // 1024**2))
    os.kill(os.getpid(), signal.SIGKILL)


gpu = Gpu()
library = Standin("8.2", gpu)
library.refuses = lambda state: {refuses!r} if state["workspace_bytes"] <= {killed_above} else killed(state)
sys.modules.update(pycuda_modules(gpu, present={present}), tensorrt=library)
"""


@pytest.fixture
def jetson(start_agent, tmp_path):
    """Start an agent on a board with TensorRT 8.2 and pycuda."""

    def start(refuses: str | None = None, present: bool = True, killed_above: int = 10**12):
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / "standin_board.py").write_text(
            BOARD.format(refuses=refuses, present=present, killed_above=killed_above, log=str(tmp_path / "killed"))
        )
        for name in ("tensorrt", "pycuda"):
            (folder / f"{name}.py").write_text("import standin_board\n")
        return start_agent(PYTHONPATH=f"{folder}:{TESTS}").greet()

    return start


@pytest.fixture
def options():
    return {"runtime": "tensorrt", "threads": 1, "settings": {"precision": "fp16"}}


@pytest.fixture
def plan(options):
    return {"options": options, "inputs": None, "deadline_s": DEADLINE_S}


def engines(agent) -> list[Path]:
    return sorted((agent.workdir / "engines").glob("*.engine"))


def test_hello_tells_of_the_board(jetson):
    hello = jetson().hello
    assert (hello["runtimes"]["tensorrt"], hello["max_opset"]["tensorrt"]) == ("8.2.1", 13)
    told = hello["runtime_capabilities"]["tensorrt"]
    assert (told["gpu"], told["cuda"], told["precision_by"]) == ("NVIDIA Tegra X1, SM 5.3", "pycuda 2022.1", "flags")


def test_hello_of_a_board_whose_gpu_does_not_answer(jetson):
    missing = jetson(present=False).hello["missing"]["tensorrt"]
    assert "CUDA finds no usable GPU" in missing


def test_an_engine_is_built_once_and_is_what_every_worker_runs(jetson, make_onnx, plan, options):
    agent = jetson()
    one, other = agent.put_model(make_onnx(8), wire.XZ), agent.put_model(make_onnx(16))
    solo = agent.result(wire.MEASURE_SOLO, model=one, runs=3, **plan)
    assert len(engines(agent)) == 1
    assert solo["device_times"]["compute_ns"][0] == 50_000_000
    assert any("built with a workspace" in note for note in solo["notes"])
    schedule = {"loads": 2, "blocks": 2, "block_ns": 1000, "warmup_ns": 1000}
    models = [{"model": own, "options": options} for own in (one, other)]
    paired = agent.result(wire.MEASURE_PAIRED, models=models, **schedule, **plan)
    assert len(paired["models"][1]["blocks_ns"]) == 4
    before = [(path.name, path.stat().st_ctime_ns) for path in engines(agent)]
    assert len(before) == 2
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    tensor = agent.put_tensor(images)
    infer = {"inputs": tensor, "expected": None, "options": options, "deadline_s": DEADLINE_S}
    assert agent.result(wire.INFER, model=one, **infer)["shape"] == [3, 8]
    layers = agent.result(wire.MEASURE_LAYERS, model=one, warmup_runs=1, runs=2, **plan)
    assert {node["op_type"] for node in layers["nodes"]} == {"kgen"}
    assert [path.name for path in engines(agent)] == [name for name, _ in before]


def test_a_build_that_fails_is_typed_and_the_next_request_works(jetson, make_onnx, plan):
    agent = jetson(refuses="Could not find any implementation for node Conv_0.")
    error = agent.error(wire.MEASURE_SOLO, model=agent.put_model(make_onnx(8)), runs=1, **plan)
    assert error["kind"] == wire.NO_TACTIC
    assert "workspace_bytes" in error["hint"]
    assert engines(agent) == []
    plan["options"]["settings"] = {"precison": "fp16"}
    error = agent.error(wire.MEASURE_SOLO, model=agent.put_model(make_onnx(8)), runs=1, **plan)
    assert (error["kind"], "'precison'" in error["message"]) == (wire.BAD_REQUEST, True)


def test_a_build_that_the_kernel_kills_is_tried_again_with_a_smaller_workspace(jetson, make_onnx, plan, tmp_path):
    agent = jetson(killed_above=256 * MIB)
    model = agent.put_model(make_onnx(8))
    built = wire.build_result(agent.result(wire.MEASURE_BUILD, model=model, **plan))
    assert (tmp_path / "killed").read_text().split() == ["1024", "512"]
    assert any("a workspace of 256 MiB" in note for note in built.notes)
    assert "the kernel had killed 2 builds with a larger workspace" in built.notes
    again = wire.build_result(agent.result(wire.MEASURE_BUILD, model=model, **plan))
    assert (again.cached, again.notes) == (True, built.notes)


@pytest.mark.parametrize(("wanted", "tried"), [(None, ["1024", "512", "256", "128"]), (300 * MIB, ["300"])])
def test_a_build_that_is_always_killed_is_a_typed_failure_with_a_remedy(
    jetson, make_onnx, plan, tmp_path, wanted, tried
):
    agent = jetson(killed_above=1)
    plan["options"]["settings"] = {} if wanted is None else {"workspace_bytes": wanted}
    error = agent.error(wire.MEASURE_BUILD, model=agent.put_model(make_onnx(8)), **plan)
    assert (tmp_path / "killed").read_text().split() == tried
    assert error["kind"] == wire.OUT_OF_MEMORY
    assert f"at last with a workspace of {tried[-1]} MiB" in error["message"]
    assert "swap does not help" in error["hint"]
    assert agent.result(wire.HAVE, sha256=[]) == {"missing": []}
