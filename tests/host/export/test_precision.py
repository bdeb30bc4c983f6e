from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.domain.precision import Precision
from scbp_host.errors import UsageError
from scbp_host.export.heads import heads_as_convolutions
from scbp_host.export.onnx import check_onnx, export_onnx
from scbp_host.export.parity import Parity, check_parity, run_onnx
from scbp_host.export.precision import GATES, Variant, check_precisions, make_variant
from scbp_host.export.quantization import SYMMETRIC, Quantizer
from scbp_host.export.sensitivity import quantize
from scbp_host.profiles import load_profile

SHAPE = (3, 16, 16)
VERSIONS = {"opset": 13, "ir_version": 7}
IMAGES = np.random.default_rng(0).normal(size=(24, *SHAPE)).astype(np.float32)


class Residual(nn.Module):
    """A stem, one residual block, a head: each operator that a quantizer treats in its own way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.head = nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        return self.head(torch.relu(x + self.block(x)).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return Residual().eval()


@pytest.fixture(scope="module")
def exported(module: nn.Module) -> bytes:
    return export_onnx(module, SHAPE, **VERSIONS)


def graph_of(written: bytes) -> onnx.GraphProto:
    return onnx.load_model_from_string(written).graph


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def variant(exported: bytes, precision: str, runtime: str = "onnxruntime", version: str = "1.31.1") -> Variant:
    return make_variant(exported, Precision(precision), runtime, version, IMAGES)


def test_int8_is_what_tensorrt_reads(exported: bytes) -> None:
    """Three inputs, zero-points 0, no integers but int8, weights and biases in float: the facts of its parsers."""
    graph = graph_of(variant(exported, "int8").onnx)
    stored = constants(graph)
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 10
    assert all(len(node.input) == 3 for node in pairs)
    assert {stored[node.input[2]].dtype for node in pairs} == {np.dtype(np.int8)}
    assert all(not stored[node.input[2]].any() for node in pairs)
    by_reader = {node.input[0]: node for node in pairs}
    assert all(stored[name].dtype == np.float32 for name in by_reader if name in stored)
    check_onnx(variant(exported, "int8").onnx, **VERSIONS)


def test_weights_have_a_scale_for_each_channel_and_activations_one(exported: bytes) -> None:
    graph = graph_of(variant(exported, "int8").onnx)
    stored = constants(graph)
    scales = {
        node.input[0] in stored: Counter(
            stored[own.input[1]].shape for own in graph.node if own.op_type == node.op_type
        )
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert set(scales) == {True, False}
    weights = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in stored]
    assert {stored[n.input[0]].shape[0] for n in weights} == {5, 16}
    assert all(stored[n.input[1]].shape == (stored[n.input[0]].shape[0],) for n in weights)
    activations = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in stored]
    assert all(stored[n.input[1]].shape in ((), (1,)) for n in activations)


def test_scales_come_from_the_images(exported: bytes) -> None:
    def of(images: np.ndarray) -> float:
        graph = graph_of(make_variant(exported, Precision.INT8, "onnxruntime", "1.31", images).onnx)
        first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "input")
        return float(constants(graph)[first.input[1]])

    assert of(IMAGES) == pytest.approx(np.abs(IMAGES).max() / 127, rel=0.01)
    assert of(10 * IMAGES) == pytest.approx(10 * of(IMAGES), rel=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "int8", "uint8"])
def test_every_precision_computes_nearly_the_same(module: nn.Module, exported: bytes, precision: str) -> None:
    written = variant(exported, precision).onnx
    parity = check_parity(module, written, IMAGES[:8], GATES[Precision(precision)].parity)
    assert isinstance(parity, Parity)
    assert 1e-6 < parity.relative < 0.1
    float32 = check_parity(module, written, IMAGES[:8], 1e-6)
    assert isinstance(float32, Failure)
    assert float32.kind is FailureKind.PARITY_FAILED


def test_one_int8_file_for_both_runtimes(exported: bytes) -> None:
    assert variant(exported, "int8").onnx == variant(exported, "int8", "tensorrt", "8.2.1").onnx
    assert variant(exported, "int8").onnx == variant(exported, "int8", "tensorrt", "10.16.0").onnx


def test_uint8_stores_integers(exported: bytes) -> None:
    stored = constants(graph_of(variant(exported, "uint8").onnx))
    filters = [own for own in stored.values() if own.ndim == 4]
    assert {own.dtype for own in filters} == {np.dtype(np.int8)}
    assert len(variant(exported, "uint8").onnx) < len(variant(exported, "int8").onnx)


def test_fp16_keeps_its_input_and_output_in_float32(exported: bytes) -> None:
    graph = graph_of(variant(exported, "fp16").onnx)
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert {own.dtype for own in constants(graph).values() if own.ndim == 4} == {np.dtype(np.float16)}
    check_onnx(variant(exported, "fp16").onnx, **VERSIONS)


@pytest.mark.parametrize(
    ("runtime", "version", "typed"),
    [
        ("tensorrt", "8.0.1.6", False),
        ("tensorrt", "8.2.1.9", False),
        ("tensorrt", "10.3.0", False),
        ("tensorrt", "10.12.0.36", True),
        ("tensorrt", "11.0.0", True),
        ("tensorrt-rtx", "1.7.1.116", True),
        ("onnxruntime", "1.10.0", True),
        ("ncnn", "1.0.20261020", False),
    ],
)
def test_before_10_12_a_flag_says_fp16_and_afterwards_the_file(
    exported: bytes, runtime: str, version: str, typed: bool
) -> None:
    own = variant(exported, "fp16", runtime, version)
    assert own.settings == ({} if runtime == "onnxruntime" else {"precision": "fp16"})
    halves = {tensor.dtype for tensor in constants(graph_of(own.onnx)).values()} & {np.dtype(np.float16)}
    assert bool(halves) is typed


def test_tensorrt_is_told_and_onnxruntime_reads_the_file(exported: bytes) -> None:
    assert variant(exported, "fp32", "tensorrt", "8.2.1").settings == {"precision": "fp32"}
    assert variant(exported, "int8", "tensorrt", "8.2.1").settings == {"precision": "int8+fp16"}
    assert variant(exported, "int8", "tensorrt", "10.16").settings == {"precision": "int8"}
    assert variant(exported, "fp32") == Variant(exported)


def test_linear_layers_become_convolutions(exported: bytes) -> None:
    written = heads_as_convolutions(exported)
    check_onnx(written, **VERSIONS)
    operators = Counter(node.op_type for node in graph_of(written).node)
    assert "Gemm" not in operators
    assert operators["Conv"] == 4
    np.testing.assert_allclose(run_onnx(written, IMAGES), run_onnx(exported, IMAGES), atol=1e-5)


def test_a_shared_or_transposed_linear_layer_stays_right() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(12, 12)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = images.flatten(1)[:, :12]
            return torch.addmm(self.layer.bias, self.layer(self.layer(x)), self.layer.weight, alpha=0.5)

    exported = export_onnx(Twice().eval(), SHAPE, **VERSIONS)
    written = heads_as_convolutions(exported)
    assert Counter(node.op_type for node in graph_of(written).node)["Conv"] == 2
    np.testing.assert_allclose(run_onnx(written, IMAGES), run_onnx(exported, IMAGES), atol=1e-5)


def test_linear_layers_over_feature_maps_become_convolutions_too() -> None:
    """ConvNeXt has them, and TensorRT-RTX has no float32 product for Turing."""

    class LastAxis(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 7)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(images.permute(0, 2, 3, 1)).mean((1, 2))  # type: ignore[no-any-return]

    exported = export_onnx(LastAxis().eval(), SHAPE, **VERSIONS)
    written = heads_as_convolutions(exported)
    check_onnx(written, **VERSIONS)
    operators = Counter(node.op_type for node in graph_of(written).node)
    assert (operators["MatMul"], operators["Conv"]) == (0, 1)
    np.testing.assert_allclose(run_onnx(written, IMAGES), run_onnx(exported, IMAGES), atol=1e-5)


class Spread(Residual):
    """Its block's second layer sees one channel a million times as large as the others, and ignores it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.block[0].weight[0] *= 1e6
            self.block[2].weight[:, 0] = 0


def agreement(reference: np.ndarray, outputs: np.ndarray) -> float:
    return float((reference.argmax(1) == outputs.argmax(1)).mean())


def test_sensitive_layers_stay_in_float_where_that_wins_back_accuracy() -> None:
    exported = export_onnx(Spread().eval(), SHAPE, **VERSIONS)
    reference = run_onnx(exported, IMAGES)
    quantizer = Quantizer(exported, IMAGES, SYMMETRIC)
    assert agreement(reference, run_onnx(quantizer.write(), IMAGES)) < 0.9
    found = quantize(quantizer, exported, IMAGES, lambda own: agreement(reference, own), 0.1)
    assert found.in_float == ("/block/block.2/Conv",)
    assert agreement(reference, run_onnx(found.onnx, IMAGES)) >= 0.9


def test_nothing_stays_in_float_without_need_or_without_hope(exported: bytes) -> None:
    quantizer = Quantizer(exported, IMAGES, SYMMETRIC)
    assert quantize(quantizer, exported, IMAGES, lambda _: 1.0, 0.0).in_float == ()
    scores = iter([1.0, *[0.0] * 99])
    assert quantize(quantizer, exported, IMAGES, lambda _: next(scores), 0.02).in_float == ()


def test_what_the_board_or_its_runtime_cannot_compute_is_one_line() -> None:
    nano, pi = load_profile("jetson-nano"), load_profile("raspberry-pi-4")
    check_precisions(nano, [Precision.FP32, Precision.FP16])
    check_precisions(pi, [Precision.INT8, Precision.UINT8])
    # What its GPU computes in says nothing of ONNX Runtime on its CPU.
    check_precisions(replace(nano, runtime="onnxruntime"), [Precision.INT8])
    with pytest.raises(UsageError, match=r"precision int8: NVIDIA Jetson Nano .* takes fp32, fp16"):
        check_precisions(nano, [Precision.INT8])
    with pytest.raises(UsageError, match="precision uint8: tensorrt takes fp32, fp16, int8"):
        check_precisions(load_profile("jetson-orin-nano"), [Precision.UINT8])
    with pytest.raises(UsageError, match="precision fp16: other takes fp32"):
        check_precisions(replace(pi, runtime="other"), [Precision.FP16])
