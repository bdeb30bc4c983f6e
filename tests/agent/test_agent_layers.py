"""The time of every node, as the runtime's own profiler sees it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from scbp_agent import wire
from scbp_agent.runtimes.onnxruntime_profile import node_times

DEADLINE_S = 60.0


def layers(model, options, inputs=None, **changes):
    plan = {"model": model, "options": options, "inputs": inputs, "warmup_runs": 2, "runs": 5}
    return {**plan, "deadline_s": DEADLINE_S, **changes}


def two_matmuls(small, large):
    """Return ``(x @ small) @ large`` with named nodes, each followed by one that cannot be fused away."""
    helper, flt = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["x", "small"], ["a"], name="/first/MatMul"),
        helper.make_node("Softmax", ["a"], ["b"], name="/first/Softmax"),
        helper.make_node("MatMul", ["b", "large"], ["c"], name="/second/MatMul"),
        helper.make_node("Softmax", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", flt, [1, small.shape[0]])],
        [helper.make_tensor_value_info("y", flt, [1, large.shape[1]])],
        [
            onnx.numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in (("small", small), ("large", large))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7).SerializeToString()


def test_every_node_has_a_time_in_the_order_executed(agent, options):
    model = agent.put_model(two_matmuls(np.ones((4, 8)), np.ones((8, 200_000))), wire.XZ)
    result = wire.layers_result(agent.result(wire.MEASURE_LAYERS, **layers(model, options)))
    assert [node.op_type for node in result.nodes] == ["MatMul", "Softmax", "MatMul", "Softmax"]
    assert [node.name for node in result.nodes][:3] == ["/first/MatMul", "/first/Softmax", "/second/MatMul"]
    # 50,000 times the work is no question of timing.
    assert result.nodes[2].latency_ns > result.nodes[0].latency_ns
    assert result.conditions.keys() == {"before", "during", "after"}
    assert agent.scratch_files() == []


def test_the_inputs_sent_are_those_run(agent, options):
    model = agent.put_model(two_matmuls(np.ones((4, 8)), np.ones((8, 8))))
    fits = agent.put_tensor(np.zeros((3, 4), np.float32))
    assert agent.result(wire.MEASURE_LAYERS, **layers(model, options, fits))["nodes"]
    other = agent.put_tensor(np.zeros((3, 5), np.float32))
    error = agent.error(wire.MEASURE_LAYERS, **layers(model, options, other))
    assert error["kind"] == wire.BAD_MODEL
    assert "[1, 5]" in error["message"]


def test_a_model_that_cannot_be_loaded_is_typed(agent, options):
    error = agent.error(wire.MEASURE_LAYERS, **layers(agent.put_model(b"no model"), options))
    assert error["kind"] == wire.BAD_MODEL
    assert agent.scratch_files() == []


@pytest.mark.parametrize(("field", "value"), [("runs", 0), ("warmup_runs", -1), ("runs", "many"), ("deadline_s", 0)])
def test_a_plan_that_is_none_is_refused(agent, options, field, value):
    model = {"format": "onnx", "blobs": {"model": "0" * 64}}
    error = agent.error(wire.MEASURE_LAYERS, **layers(model, options, **{field: value}))
    assert error["kind"] == wire.BAD_REQUEST
    assert field in error["message"]


def test_a_worker_that_hangs_meets_its_deadline(start_agent, stub_path, options):
    agent = start_agent(PYTHONPATH=stub_path).greet()
    error = agent.error(wire.MEASURE_LAYERS, **layers(agent.put_model(b"hang"), options, deadline_s=1.0))
    assert error["kind"] == wire.TIMEOUT


def event(name, dur, index=0, cat="Node"):
    return {"cat": cat, "name": name, "dur": dur, "args": {"op_name": "Conv", "node_index": str(index)}}


def test_the_median_is_over_the_last_runs_and_over_nodes_alone():
    warm_up = [event("a_fence_before", 9), event("a_kernel_time", 900), event("a_fence_after", 9)]
    runs = [
        [event("a_kernel_time", dur), event("_kernel_time", 1, 7), event("_kernel_time", 2, 8)] for dur in (5, 8, 6)
    ]
    session = [event("model_run_kernel_time", 1000, cat="Session")]
    times = node_times(warm_up + session + [own for run in runs for own in run], runs=3)
    assert times == [("a", "Conv", 6000), ("", "Conv", 1000), ("", "Conv", 2000)]


def test_a_result_that_is_not_the_protocol_is_refused():
    for nodes in ([1], [{"name": "a", "op_type": "Conv"}], [{"name": "a", "op_type": "Conv", "latency_ns": -1}]):
        with pytest.raises(wire.WireError):
            wire.layers_result(json.loads(json.dumps({"nodes": nodes, "conditions": {}})))
