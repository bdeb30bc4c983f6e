"""One exported network in each precision: how the runtime wants it, and what it must still be able to do.

A strongly typed runtime computes what the file says; before TensorRT 10.12 its builder is told by a flag, and the file
stays in float32, since the parser of 8.2 takes no float16 weights (onnx/onnx-tensorrt docs/operators.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.precision import Precision
from scbp_host.errors import UsageError
from scbp_host.export.heads import heads_as_convolutions
from scbp_host.export.quantization import ASYMMETRIC, SYMMETRIC, Quantizer
from scbp_host.export.sensitivity import Float32Array, Quantized, Score, quantize

FP32, FP16, INT8, UINT8 = Precision.FP32, Precision.FP16, Precision.INT8, Precision.UINT8

_SCHEMES = {INT8: SYMMETRIC, UINT8: ASYMMETRIC}


@dataclass(frozen=True)
class Gate:
    """What a network must still be able to do in one precision.

    Attributes:
        parity: largest difference of the exported file's outputs from torch's, as a share of the largest logit.
        device: the same of the device's outputs from the file's on the host: another instruction set sums in another
            order; a wrong kernel or a damaged model is off by far more.
        max_drop: how much lower than torch's the score of the device's outputs may be, a fraction.
    """

    parity: float
    device: float
    max_drop: float


# Scores are fractions of counts: 0.99 - 0.98 is not 0.01 to a float.
_ROUNDING = 1e-9
# float32 sums of some twenty layers differ by 1e-6 of the largest logit, float16's eleven bits by a thousandth. Eight
# bits may move single logits by tenths where no answer changes: there the score is the judge.
GATES: Mapping[Precision, Gate] = {
    FP32: Gate(1e-4, 1e-3, 0.005),
    FP16: Gate(1e-2, 2e-2, 0.01),
    INT8: Gate(0.5, 0.1, 0.02),
    UINT8: Gate(0.5, 0.1, 0.02),
}


def allowed_drop(precision: Precision, images: int) -> float:
    """Return how much lower than torch's a score over so many images may be: one image is never too much."""
    return max(GATES[precision].max_drop, 1.0 / images) + _ROUNDING


@dataclass(frozen=True)
class _Dialect:
    """How a runtime is asked for a precision.

    Attributes:
        words: its own word for each precision it knows a way to; "" where the file says all.
        typed: whether a file's own types count, rather than the word.
        heads: whether fully connected layers go there as convolutions.
        gpu: whether it runs on the GPU, whose precisions the profile knows.
    """

    words: Mapping[Precision, str]
    typed: bool = True
    heads: bool = False
    gpu: bool = False


# Where flags count, what has no pairs around it may as well be float16: no GPU has int8 and not float16.
_BY_FLAGS = _Dialect({FP32: "fp32", FP16: "fp16", INT8: "int8+fp16"}, typed=False, heads=True, gpu=True)
_BY_TYPES = _Dialect({FP32: "fp32", FP16: "fp16", INT8: "int8"}, heads=True, gpu=True)
# Of each runtime the version that a dialect begins with, the newest first.
_DIALECTS: Mapping[str, tuple[tuple[tuple[int, ...], _Dialect], ...]] = {
    "onnxruntime": (((), _Dialect(dict.fromkeys(Precision, ""))),),
    # NVIDIA recommends strong typing from 10.12 on, where it deprecates the flags.
    "tensorrt": (((10, 12), _BY_TYPES), ((), _BY_FLAGS)),
    "tensorrt-rtx": (((), _BY_TYPES),),
    # A word at every version: its own files are float32.
    "ncnn": (((), _Dialect({FP32: "fp32", FP16: "fp16"}, typed=False)),),
}
_ANY_OTHER = (((), _Dialect({FP32: ""})),)


@dataclass(frozen=True)
class Variant:
    """One network in one precision, as the device is to have it.

    Attributes:
        onnx: the file.
        settings: what the runtime is told for it, beside the profile's own settings.
        in_float: layers that eight bits would hurt, and that stay in float32.
    """

    onnx: bytes
    settings: Mapping[str, Any] = field(default_factory=dict)
    in_float: tuple[str, ...] = ()


def check_precisions(profile: DeviceProfile, wanted: Sequence[Precision]) -> None:
    """Raise UsageError where the board, or its runtime, has no way to compute in one of these precisions."""
    for precision in wanted:
        # Which precisions there are does not depend on the version.
        dialect = _dialect(profile.runtime, "0")
        takes = {profile.runtime: tuple(own.value for own in dialect.words)}
        if dialect.gpu and profile.hardware.precisions:
            takes[profile.title] = profile.hardware.precisions
        for who, known in takes.items():
            if precision not in known:
                hint = f"run: scbp-host devices show {profile.name}"
                raise UsageError(f"precision {precision}: {who} takes {', '.join(known)}", hint)


def make_variant(
    exported: bytes,
    precision: Precision,
    runtime: str,
    version: str,
    calibration: Float32Array,
    judging: tuple[Float32Array, Score] | None = None,
) -> Variant:
    """Write an exported network in one precision.

    Args:
        exported: the network in float32.
        precision: which.
        runtime: that will run it.
        version: of the runtime, as the device says.
        calibration: images that the ranges of eight bits are taken from, float32 (n, channels, height, width).
        judging: validation images and what judges the outputs for them: then layers stay in float where that wins back
            accuracy. None where the weights are filler, and only the latency is wanted.

    Raises:
        QuantizationError: the network cannot be written with eight bits.
    """
    dialect = _dialect(runtime, version)
    # int8 is one file for every runtime, so it has the form that all of them take.
    if precision is INT8 or dialect.heads:
        exported = heads_as_convolutions(exported)
    word = dialect.words[precision]
    settings = {"precision": word} if word else {}
    if precision in _SCHEMES:
        quantizer = Quantizer(exported, calibration, _SCHEMES[precision])
        if judging is None:
            written = Quantized(quantizer.write())
        else:
            written = quantize(quantizer, exported, *judging, allowed_drop(precision, len(judging[0])))
        return Variant(written.onnx, settings, written.in_float)
    return Variant(_as_float16(exported) if precision is FP16 and dialect.typed else exported, settings)


def _dialect(runtime: str, version: str) -> _Dialect:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return next(own for since, own in _DIALECTS.get(runtime, _ANY_OTHER) if numbers >= since)


def _as_float16(exported: bytes) -> bytes:
    """Return the network with float16 weights and activations; input and output stay float32."""
    model = ONNXModel(convert_float_to_float16(onnx.load_model_from_string(exported), keep_io_types=True))
    # The casts are appended at the end, and ONNX wants its nodes in an order that they can be computed in.
    model.topological_sort()
    written: bytes = model.model.SerializeToString()
    return written
