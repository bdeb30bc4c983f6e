"""Eight bits by onnxruntime's quantizer: QuantizeLinear/DequantizeLinear pairs around float operators.

onnxruntime is a dependency already, keeps the opset that it is given, and can be told where the pairs are to stand.
NVIDIA's ModelOpt places them for TensorRT alone, and brings a stack of packages of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, TensorsData, create_calibrator

from scbp_host.errors import ModelError

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What both runtimes compute in integers. Everything else stays in float.
_QUANTIZED = (*_LAYERS, "Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu")
# TensorRT reads no int32, so no quantized bias (onnx/onnx-tensorrt#850), and 8.2 no int8 weights either ("invalid
# weights type of Int8", megvii-research/Sparsebit#16): weights stay in float behind a pair of their own. Pairs stand
# before what they are for, one for each reader, as onnxruntime's own example for TensorRT has them.
_FOR_EVERY_RUNTIME = {
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
    "DedicatedQDQPair": True,
    "OpTypesToExcludeOutputQuantization": list(_QUANTIZED),
}
# ONNX Runtime fuses an operator that has pairs on both sides, and reads int8 weights: a quarter of the file. The logits
# stay in float, where eight bits of them cost accuracy and save nothing.
_FOR_ONNX_RUNTIME = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}


class QuantizationError(ModelError):
    """A network cannot be written with eight bits."""


@dataclass(frozen=True)
class Scheme:
    """How eight bits are used.

    Attributes:
        symmetric: int8 activations with zero-point 0; otherwise uint8 with zero-points of their own.
        options: the quantizer's own words for where pairs stand.
    """

    symmetric: bool
    options: tuple[tuple[str, Any], ...]


SYMMETRIC = Scheme(True, tuple(_FOR_EVERY_RUNTIME.items()))
ASYMMETRIC = Scheme(False, tuple(_FOR_ONNX_RUNTIME.items()))


class Quantizer:
    """Writes one network with eight bits, again and again with other layers left in float; it is calibrated once.

    A tensor's range is the least and the largest value that it takes (MinMax). Weights have a scale for each output
    channel, activations one for each tensor.

    Args:
        onnx_bytes: the network in float32, one input with a batch of 1.
        images: float32 (n, channels, height, width), n > 0, to calibrate with.
        scheme: how the bits are used.
    """

    def __init__(self, onnx_bytes: bytes, images: NDArray[np.float32], scheme: Scheme) -> None:
        # The quantizer takes names for granted, and what it does to a shape it must know.
        self._model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(onnx_bytes))
        _name_nodes(self._model.graph)
        self._images = images
        self._scheme = scheme

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the nodes with weights, in the order computed."""
        stored = {tensor.name for tensor in self._model.graph.initializer}
        return tuple(
            node.name for node in self._model.graph.node if node.op_type in _LAYERS and stored.intersection(node.input)
        )

    def write(self, in_float: Collection[str] = ()) -> bytes:
        """Return the network with eight bits.

        Args:
            in_float: layers that stay in float32.

        Raises:
            QuantizationError: the quantizer gives up on the network.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        symmetric = self._scheme.symmetric
        try:
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=list(in_float),
                op_types_to_quantize=list(_QUANTIZED),
                extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True} | dict(self._scheme.options),
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        except Exception as error:  # the quantizer raises what it likes, and ONNX Runtime's own are bare Exceptions
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise QuantizationError(f"quantization: {line}") from error
        written: bytes = quantizer.model.model.SerializeToString()
        return written

    @cached_property
    def _ranges(self) -> TensorsData:
        # The calibrator knows files only.
        with tempfile.TemporaryDirectory(prefix="scbp-calibration-") as folder:
            path = Path(folder) / "model.onnx"
            onnx.save_model(self._model, path)
            calibrator = create_calibrator(path, list(_QUANTIZED), str(Path(folder) / "augmented.onnx"))
            calibrator.collect_data(_Images(self._model.graph.input[0].name, self._images))
            return calibrator.compute_data()


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Real images, one at a time, as the calibrator wants them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._batches: Iterator[dict[str, NDArray[np.float32]]] = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def _name_nodes(graph: onnx.GraphProto) -> None:
    taken = {node.name for node in graph.node}
    for position, node in enumerate(graph.node):
        if not node.name:
            name = f"{node.op_type}_{position}"
            node.name = f"{name}_" if name in taken else name
