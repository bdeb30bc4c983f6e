"""The agent's TensorRT code against the real bindings of TensorRT-RTX, as far as a machine without a GPU goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorrt_standin import TABLE

from scbp_agent import engines, wire
from scbp_agent.runtimes import base, tensorrt, tensorrt_api, tensorrt_rtx

TARGET = "SM86"


@pytest.fixture(autouse=True)
def real_bindings(rtx, monkeypatch):
    """Also where tests before have put a stand-in."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)


@pytest.fixture
def onnx_file(make_onnx, tmp_path) -> str:
    (tmp_path / "model.onnx").write_bytes(make_onnx(8))
    return str(tmp_path / "model.onnx")


def options(**settings) -> wire.RuntimeOptions:
    return wire.RuntimeOptions("tensorrt-rtx", 1, {"compute_capability": TARGET, **settings})


def prepare(path: str, folder: Path, **settings) -> base.Prepared:
    return base.prepare("onnx", {"model": path}, options(**settings), str(folder))


@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_of_them_what_they_are(rtx, name):
    real = getattr(rtx, name)
    members = set(getattr(real, "__members__", {})) or {member for member in dir(real) if member[0] != "_"}
    if name == "INetworkDefinition":
        # The table leaves out the layers.
        members = {member for member in members if not member.startswith("add_")}
    assert {member for member, states in TABLE[name].items() if {"rtx", "rtxd"} & set(states.split())} == members


def test_version_and_opset(rtx):
    assert tensorrt_rtx.version() == rtx.__version__
    assert tensorrt_rtx.max_opset() is None


@pytest.mark.parametrize("target", ["SM75", "SM80", "SM86", "SM89", "SM120"])
def test_a_real_engine_is_built_and_found_again(onnx_file, tmp_path, target):
    built = prepare(onnx_file, tmp_path / "engines", compute_capability=target)
    assert (built.format, built.cached) == (tensorrt.ENGINE, False)
    assert built.build_ns > 0
    assert "workspace of" in built.notes[-1]
    content = Path(built.paths["engine"]).read_bytes()
    assert len(content) > 10_000
    again = prepare(onnx_file, tmp_path / "engines", compute_capability=target)
    assert again == built._replace(cached=True)
    assert Path(again.paths["engine"]).read_bytes() == content


def test_what_makes_another_engine_is_another_entry(onnx_file, tmp_path):
    first = prepare(onnx_file, tmp_path / "engines")
    assert prepare(onnx_file, tmp_path / "engines", cuda_graph="never").paths == first.paths
    for settings in ({"compute_capability": "SM80"}, {"tf32": False}, {"workspace_bytes": 1 << 26}, {"build": 1}):
        other = prepare(onnx_file, tmp_path / "engines", **settings)
        assert not other.cached
        assert other.paths != first.paths
    about = json.loads(Path(first.paths["engine"]).with_suffix(".json").read_text())
    assert about["facts"]["runtime"] == f"tensorrt-rtx {tensorrt_rtx.version()}"
    assert about["facts"]["model"]["sha256"] == engines.file_sha256(onnx_file)


def test_a_damaged_engine_is_built_again(onnx_file, tmp_path):
    first = prepare(onnx_file, tmp_path / "engines")
    path = Path(first.paths["engine"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not prepare(onnx_file, tmp_path / "engines").cached


def test_loading_an_engine_needs_a_driver_and_says_so(onnx_file, tmp_path):
    built = prepare(onnx_file, tmp_path / "engines")
    api = tensorrt_api.find("tensorrt-rtx")
    model = tensorrt.EngineModel(api, built.paths["engine"], "never")
    with pytest.raises(wire.AgentFailure, match="TensorRT finds no usable GPU driver") as caught:
        model._deserialized()
    assert caught.value.kind == wire.CAPABILITY_MISSING


@pytest.mark.parametrize("call", ["prepare", "probe"])
def test_without_a_gpu_the_runtime_is_a_missing_capability(onnx_file, tmp_path, call):
    """Both libraries for CUDA are looked for; cuda-python is here, with torch, and finds no driver."""
    calls = {
        "probe": tensorrt_rtx.capabilities,
        "prepare": lambda: prepare(onnx_file, tmp_path / "engines", compute_capability="current"),
    }
    with pytest.raises(wire.AgentFailure) as caught:
        calls[call]()
    assert caught.value.kind == wire.CAPABILITY_MISSING
    assert "CUDA driver version is insufficient" in caught.value.message


def test_a_wrong_file_is_refused_by_the_real_parser(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"GIF89a")
    with pytest.raises(wire.AgentFailure, match=r"TensorRT cannot read the model: .*Failed to parse") as caught:
        prepare(str(tmp_path / "model.onnx"), tmp_path / "engines")
    assert caught.value.kind == wire.BAD_MODEL


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"precision": "int8"}, wire.BAD_MODEL, "finds it nowhere in the model"),
        ({"precision": "fp16"}, wire.BAD_MODEL, "finds it nowhere in the model"),
        ({"compute_capability": "SM53"}, wire.BAD_REQUEST, "does not know 'SM53'"),
        ({"optimization_level": 6}, wire.BAD_REQUEST, "an integer from 0 to 5, got 6"),
        ({"workspace_bytes": True}, wire.BAD_REQUEST, "an integer of at least 1, got True"),
    ],
)
def test_what_cannot_be_built_as_asked_for_is_not_built_otherwise(onnx_file, tmp_path, settings, kind, message):
    with pytest.raises(wire.AgentFailure, match=message) as caught:
        prepare(onnx_file, tmp_path / "engines", **settings)
    assert caught.value.kind == kind


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_types_of_the_model_are_built_as_they_are(tmp_path, precision):
    (tmp_path / "model.onnx").write_bytes({"fp16": half_model, "int8": quantized_model}[precision]())
    assert not prepare(
        str(tmp_path / "model.onnx"), tmp_path / "engines", precision=precision, optimization_level=2
    ).cached


def half_model() -> bytes:
    """Half inside, float32 outside."""
    weights = np.ones((8, 3, 3, 3), np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    return _model(nodes, {"w": weights}, 8)


def quantized_model() -> bytes:
    """A convolution between symmetric quantize and dequantize nodes of three inputs each."""
    scale, zero = np.float32(0.1), np.int8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = {
        "s": np.asarray(scale),
        "z": np.asarray(zero),
        "wq": np.ones((8, 3, 3, 3), np.int8),
        "ws": np.full(8, scale),
        "wz": np.zeros(8, np.int8),
    }
    return _model(nodes, weights, 8)


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], channels: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "typed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
