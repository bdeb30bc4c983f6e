"""The one file that is uploaded, under every Python that a board may have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from scbp_agent import wire


def test_hello_under_each_python(start_agent, make_board, board_python, python_version, agent_pyz):
    # Nothing of this environment's packages may help out.
    agent = start_agent(python=board_python, PYTHONPATH="", SCBP_BOARD_ROOT=make_board("jetson-nano")).greet()
    hello = agent.hello
    assert hello["python"].startswith(python_version + ".")
    assert hello["agent_sha256"] == hashlib.sha256(agent_pyz.read_bytes()).hexdigest()
    assert hello["board"] == "NVIDIA Jetson Nano Developer Kit"
    assert hello["conditions"]["power"]["total_w"] == 1.75
    assert hello["conditions"]["unreadable"] is None
    install = f"{board_python} -m pip install"
    assert install in hello["missing"]["onnxruntime"]
    assert ("onnxruntime==1.10.0" in hello["missing"]["onnxruntime"]) == (python_version == "3.6")
    error = agent.error(wire.MEASURE_SOLO, **solo(agent.put_model(b"no model")))
    assert error["kind"] == wire.CAPABILITY_MISSING
    assert install in error["hint"]


def test_a_model_is_measured_with_the_oldest_runtime_under_the_oldest_python(start_agent, oldest_python, linear_model):
    weights = np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)
    agent = start_agent(python=oldest_python, PYTHONPATH="").greet()
    assert agent.hello["runtimes"] == {"onnxruntime": "1.10.0"}
    assert agent.hello["libraries"] == {"numpy": "1.19.4", "onnxruntime": "1.10.0"}
    assert agent.hello["max_opset"] == {"onnxruntime": 15}
    model = agent.put_model(linear_model(weights), wire.XZ)
    plan = {"loads": 2, "blocks": 4, "block_ns": 200_000, "warmup_ns": 100_000, "deadline_s": 60.0, "inputs": None}
    settings = {"providers": ["CPUExecutionProvider"], "graph_optimization": "extended", "allow_spinning": True}
    options = {"runtime": "onnxruntime", "threads": 1, "settings": settings}
    paired = agent.result(wire.MEASURE_PAIRED, models=[{"model": model, "options": options}] * 2, **plan)
    assert [len(own.blocks_ns) for own in wire.paired_result(paired).models] == [2 * 4] * 2
    assert wire.solo_result(agent.result(wire.MEASURE_SOLO, **solo(model))).peak_rss_bytes > 0
    layers = {"model": model, "options": options, "inputs": None, "warmup_runs": 1, "runs": 2, "deadline_s": 60.0}
    assert "MatMul" in str(agent.result(wire.MEASURE_LAYERS, **layers)["nodes"])


def test_tensorrt_is_run_under_the_python_of_jetpack_4(start_agent, oldest_python, linear_model, tmp_path):
    """The agent's own code for TensorRT 8.2 and pycuda; what stands for the two is tests/agent/jetpack4.py."""
    for name in ("tensorrt", "pycuda"):
        (tmp_path / f"{name}.py").write_text("import jetpack4\n")
    agent = start_agent(python=oldest_python, PYTHONPATH=f"{tmp_path}:{Path(__file__).parent}").greet()
    assert agent.hello["runtimes"]["tensorrt"] == "8.2.1.8"
    assert agent.hello["runtime_capabilities"]["tensorrt"]["gpu"] == "NVIDIA Tegra X1, SM 5.3"
    model = agent.put_model(linear_model(np.eye(48, 5)))
    options = {"runtime": "tensorrt", "threads": 1, "settings": {"precision": "fp16"}}
    result = wire.solo_result(agent.result(wire.MEASURE_SOLO, **{**solo(model), "options": options}))
    assert result.device_times.compute_ns == [250_000] * 2
    image = np.arange(3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    plan = {"model": model, "options": options, "deadline_s": 60.0}
    outputs = agent.result(wire.INFER, inputs=agent.put_tensor(image), expected=agent.put_tensor(2 * image), **plan)
    assert outputs["max_abs_difference"] == 0
    (node,) = agent.result(wire.MEASURE_LAYERS, inputs=None, warmup_runs=1, runs=2, **plan)["nodes"]
    assert node == {"name": "/conv/Conv", "op_type": "TensorRT", "latency_ns": 500_000}
    assert len(list((agent.workdir / "engines").glob("*.engine"))) == 1


def solo(model):
    options = {"runtime": "onnxruntime", "threads": 1, "settings": {}}
    return {"model": model, "options": options, "inputs": None, "runs": 2, "deadline_s": 60.0}
