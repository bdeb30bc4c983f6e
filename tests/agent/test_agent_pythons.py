"""The one file that is uploaded, under every Python that a board may have."""

from __future__ import annotations

import hashlib

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
    options = {"runtime": "onnxruntime", "threads": 1, "settings": {}}
    paired = agent.result(wire.MEASURE_PAIRED, candidate=model, reference=model, options=options, **plan)
    assert len(wire.paired_result(paired).candidate_blocks_ns) == 2 * 4
    assert wire.solo_result(agent.result(wire.MEASURE_SOLO, **solo(model))).peak_rss_bytes > 0
    layers = {"model": model, "options": options, "inputs": None, "warmup_runs": 1, "runs": 2, "deadline_s": 60.0}
    assert "MatMul" in str(agent.result(wire.MEASURE_LAYERS, **layers)["nodes"])


def solo(model):
    options = {"runtime": "onnxruntime", "threads": 1, "settings": {}}
    return {"model": model, "options": options, "inputs": None, "runs": 2, "deadline_s": 60.0}
