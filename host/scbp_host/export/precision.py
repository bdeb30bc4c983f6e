"""One exported network in each precision: how the runtime wants it, and what it must still be able to do.

A strongly typed runtime computes what the file says; before TensorRT 10.12 its builder is told by a flag, and the file
stays in float32, since the parser of 8.2 takes no float16 weights (onnx/onnx-tensorrt docs/operators.md).
"""

from __future__ import annotations

import re
import sys
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


# float32 sums of some twenty layers differ by 1e-6 of the largest logit, float16's eleven bits by a thousandth. Eight
# bits may move single logits by tenths where no answer changes: there the score is the judge.
GATES: Mapping[Precision, Gate] = {
    FP32: Gate(1e-4, 1e-3, 0.005),
    FP16: Gate(1e-2, 2e-2, 0.01),
    INT8: Gate(0.5, 0.1, 0.02),
    UINT8: Gate(0.5, 0.1, 0.02),
}


@dataclass(frozen=True)
class _Runtime:
    """What a runtime takes.

    Attributes:
        precisions: all it knows a way to.
        typed_since: the version from which on a file's types decide; before, a flag does.
        heads: whether fully connected layers go there as convolutions.
    """

    precisions: frozenset[Precision]
    typed_since: tuple[int, ...] = ()
    heads: bool = False


_FOR_TENSORRT = frozenset({FP32, FP16, INT8})
_RUNTIMES: Mapping[str, _Runtime] = {
    "onnxruntime": _Runtime(frozenset(Precision)),
    # Strong typing is what NVIDIA recommends from 10.12 on, where the flags are deprecated.
    "tensorrt": _Runtime(_FOR_TENSORRT, typed_since=(10, 12), heads=True),
    "tensorrt-rtx": _Runtime(_FOR_TENSORRT, heads=True),
    # A flag at every version: its own files are float32.
    "ncnn": _Runtime(frozenset({FP32, FP16}), typed_since=(sys.maxsize,)),
}
_ANY_OTHER = _Runtime(frozenset({FP32}))


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
        known = _RUNTIMES.get(profile.runtime, _ANY_OTHER).precisions
        if precision not in known:
            raise UsageError(
                f"precision {precision}: {profile.runtime} takes {_listed(known)}",
                f"run: scbp-host devices show {profile.name}",
            )
        has = profile.hardware.precisions
        if has and precision not in has:
            raise UsageError(
                f"precision {precision}: {profile.title} computes in {', '.join(has)}",
                f"run: scbp-host devices show {profile.name}",
            )


def is_typed(runtime: str, version: str) -> bool:
    """Tell whether this runtime computes in a file's own types, rather than as a flag says."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return numbers >= _RUNTIMES.get(runtime, _ANY_OTHER).typed_since


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
    # int8 is one file for every runtime, so it has the form that all of them take.
    if precision is INT8 or _RUNTIMES.get(runtime, _ANY_OTHER).heads:
        exported = heads_as_convolutions(exported)
    flag = {} if precision is FP32 or is_typed(runtime, version) else {"precision": precision.value}
    if precision in _SCHEMES:
        quantizer = Quantizer(exported, calibration, _SCHEMES[precision])
        if judging is None:
            written = Quantized(quantizer.write())
        else:
            written = quantize(quantizer, exported, *judging, GATES[precision].max_drop)
        return Variant(written.onnx, flag, written.in_float)
    return Variant(_as_float16(exported) if precision is FP16 and not flag else exported, flag)


def _as_float16(exported: bytes) -> bytes:
    """Return the network with float16 weights and activations; input and output stay float32."""
    model = ONNXModel(convert_float_to_float16(onnx.load_model_from_string(exported), keep_io_types=True))
    # The casts are appended at the end, and ONNX wants its nodes in an order that they can be computed in.
    model.topological_sort()
    written: bytes = model.model.SerializeToString()
    return written


def _listed(precisions: frozenset[Precision]) -> str:
    return ", ".join(own for own in Precision if own in precisions)
