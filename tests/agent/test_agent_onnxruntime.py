"""What onnxruntime can be told, and what it must never do silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from scbp_agent import wire
from scbp_agent.runtimes import base

CPU = "CPUExecutionProvider"
# Every wheel offers it, and no node of these models has a place there: it needs no GPU to be a provider of no use.
IDLE = "AzureExecutionProvider"


@pytest.fixture
def path(tmp_path: Path, make_onnx: Any) -> str:
    (tmp_path / "model.onnx").write_bytes(make_onnx())
    return str(tmp_path / "model.onnx")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)


def open_model(path: str, **settings: Any) -> Any:
    return base.open_model("onnx", {"model": path}, wire.RuntimeOptions("onnxruntime", 2, settings))


def refusal(path: str, **settings: Any) -> wire.AgentFailure:
    with pytest.raises(wire.AgentFailure) as caught, open_model(path, **settings):
        pass
    assert "\n" not in caught.value.message
    return caught.value


def told(path: str, **settings: Any) -> tuple[Any, ...]:
    with open_model(path, **settings) as model:
        options = model._session.get_session_options()
        return (
            options.intra_op_num_threads,
            options.get_session_config_entry("session.intra_op.allow_spinning"),
            options.graph_optimization_level,
            model._session.get_providers(),
        )


def test_what_is_set_is_what_the_session_has_and_nothing_spins_unless_asked_to(path: str) -> None:
    levels = onnxruntime.GraphOptimizationLevel
    assert told(path) == (2, "0", levels.ORT_ENABLE_ALL, [CPU])
    assert told(path, allow_spinning=True, graph_optimization="none") == (2, "1", levels.ORT_DISABLE_ALL, [CPU])
    assert told(path, graph_optimization="basic")[2] == levels.ORT_ENABLE_BASIC
    assert told(path, graph_optimization="extended", providers=[IDLE, CPU])[2:] == (
        levels.ORT_ENABLE_EXTENDED,
        [IDLE, CPU],
    )


def test_a_provider_that_the_wheel_does_not_offer_is_refused_naming_those_it_has(path: str) -> None:
    failure = refusal(path, providers=["CUDAExecutionProvider", CPU])
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "no CUDAExecutionProvider" in failure.message
    assert CPU in failure.message
    assert "onnxruntime-gpu" in failure.hint


def test_nodes_do_not_slip_onto_the_cpu_where_it_was_not_asked_for(path: str, image: np.ndarray) -> None:
    failure = refusal(path, providers=[IDLE])
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "no place but the CPU" in failure.message
    with open_model(path, providers=[IDLE, CPU]) as model:
        assert model.run(image)[0].shape == (1, 8)


def test_a_provider_that_did_not_start_is_no_measurement(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a wheel for GPUs does on a machine whose CUDA libraries are missing: it is offered, and the session goes on
    # without it.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    failure = refusal(path, providers=["CUDAExecutionProvider", CPU])
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "could not start CUDAExecutionProvider, and would use CPUExecutionProvider" in failure.message


@pytest.mark.parametrize(
    "settings",
    [{"providers": []}, {"providers": CPU}, {"providers": [1]}, {"allow_spinning": 1}, {"graph_optimization": "most"}],
)
def test_a_value_that_is_none_is_a_bad_request_naming_the_setting(path: str, settings: dict[str, Any]) -> None:
    failure = refusal(path, **settings)
    assert failure.kind == wire.BAD_REQUEST
    assert f"setting {next(iter(settings))!r}" in failure.message


def test_models_in_fp16_and_in_int8_take_and_give_float32(tmp_path: Path, image: np.ndarray) -> None:
    expected = np.maximum(image, 0)
    for name, nodes, tolerance in (("fp16", _in_halves(), 1e-2), ("int8", _in_eight_bits(), 0.05)):
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(_model(nodes))
        with open_model(str(file)) as model:
            (output,) = model.run(image)
        assert (model.dtype, output.dtype) == ("float32", np.float32)
        assert np.abs(output - expected).max() <= tolerance, name


def _in_halves() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]


def _in_eight_bits() -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]


def _model(nodes: list[onnx.NodeProto]) -> bytes:
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(np.int8(0), "zero")],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7).SerializeToString()
    )
