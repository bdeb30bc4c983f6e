"""pnnx, as it is: what it converts, and what is said of what it does not."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torchvision.models import get_model

from scbp_host.domain.device_model import DeviceModel
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import UsageError
from scbp_host.export import ncnn as exporter
from scbp_host.export.formats import converter_for
from scbp_host.export.onnx import export_onnx
from scbp_host.export.structure import without_weights

MakeOnnx = Callable[..., bytes]
SIZE = 64
# Sums of float32 in another order: what the house allows between torch and ONNX Runtime as well.
TOLERANCE = 1e-4


def convert(content: bytes) -> DeviceModel:
    model = converter_for("ncnn")(content)
    assert isinstance(model, DeviceModel), model
    return model


def refusal(content: bytes) -> Failure:
    outcome = converter_for("ncnn")(content)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.EXPORT_FAILED
    assert "\n" not in outcome.message
    return outcome


def graph_of(*nodes: onnx.NodeProto, shape: tuple[Any, ...] = (1, 3, 8, 8), dtype: int = TensorProto.FLOAT) -> bytes:
    constants = {"scale": np.float32(0.1), "zero": np.int8(0)}
    graph = helper.make_graph(
        list(nodes),
        "one",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("my.operators", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString())


def run_ncnn(model: DeviceModel, image: np.ndarray, folder: Path) -> np.ndarray:
    """Run (1, ...) with ncnn's library alone, nothing of the agent."""
    for role, content in model.files.items():
        (folder / role).write_bytes(content)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(folder / "param")) == 0
    assert net.load_model(str(folder / "bin")) == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(image[0]).clone())
    status, output = extractor.extract("out0")
    assert status == 0
    return np.array(output)[None]


# One of each way of building a block: residual, depthwise with squeeze and excitation, concatenation, channel shuffle.
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_a_converted_network_computes_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    content = export_onnx(get_model(name, num_classes=10).eval(), (3, SIZE, SIZE), opset=13, ir_version=7)
    image = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content).run(None, {"input": image})
    computed = run_ncnn(convert(content), image, tmp_path)
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_the_files_are_named_by_role_and_the_network_states_the_size_of_its_input(make_onnx: MakeOnnx) -> None:
    model = convert(make_onnx())
    assert model.format == "ncnn"
    assert set(model.files) == {"param", "bin"}
    (line,) = [line for line in model.files["param"].decode().splitlines() if line.startswith("Input")]
    assert line.split()[1:] == ["in0", "0", "1", "in0", "0=8", "1=8", "2=3"]
    weights = 8 * 3 * 9 + 8 * 8 * 9
    assert len(model.files["bin"]) >= 4 * weights, "float32, not halves"


def test_the_same_model_gives_the_same_files(make_onnx: MakeOnnx) -> None:
    assert convert(make_onnx()) == convert(make_onnx())


def test_a_structure_without_its_weights_still_packs_to_almost_nothing(make_onnx: MakeOnnx) -> None:
    model = convert(without_weights(make_onnx(256)))
    assert len(lzma.compress(model.files["bin"], preset=0)) < 0.02 * len(model.files["bin"])


def test_an_operator_that_ncnn_lacks_is_named() -> None:
    failure = refusal(graph_of(helper.make_node("Det", ["x"], ["y"]), shape=(1, 3, 4, 4)))
    assert "ncnn has no operator Det" in failure.message
    assert 'runtime = "onnxruntime"' in failure.hint


def test_quantised_models_are_refused_by_their_operators() -> None:
    quantise = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    back = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"])
    assert "no operator DequantizeLinear, QuantizeLinear" in refusal(graph_of(quantise, back)).message


def test_an_operator_of_another_domain_is_named_though_pnnx_crashes() -> None:
    failure = refusal(graph_of(helper.make_node("Fancy", ["x"], ["y"], domain="my.operators")))
    assert "ncnn has no operator my.operators:Fancy" in failure.message


def test_where_pnnx_gives_up_its_last_words_are_the_reason(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\necho first\necho 'cannot go on' >&2\nexit 3\n")
    program.chmod(0o755)
    outcome = exporter.to_ncnn(program, make_onnx())
    assert isinstance(outcome, Failure)
    assert outcome.message.endswith("pnnx ended with exit status 3: cannot go on")


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [
        ((2, 3, 8, 8), TensorProto.FLOAT, "[2, 3, 8, 8]"),
        ((1, 3, "h", "w"), TensorProto.FLOAT, "[1, 3, 0, 0]"),
        ((1, 3, 8, 8), TensorProto.FLOAT16, "float32"),
    ],
)
def test_an_input_that_ncnn_could_not_be_given_is_refused(shape: Any, dtype: int, why: str) -> None:
    failure = refusal(graph_of(helper.make_node("Relu", ["x"], ["y"]), shape=shape, dtype=dtype))
    assert why in failure.message


def test_a_conversion_that_takes_too_long_is_a_failure_of_the_model(
    make_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "DEADLINE_S", 0.001)
    assert "did not finish within 0.001 s" in refusal(make_onnx()).message


def test_without_pnnx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pnnx", None)
    with pytest.raises(UsageError, match="needs pnnx on this machine") as caught:
        converter_for("ncnn")
    assert caught.value.hint == "python -m pip install pnnx"
    assert converter_for("onnxruntime")(b"x") == DeviceModel("onnx", {"model": b"x"})
