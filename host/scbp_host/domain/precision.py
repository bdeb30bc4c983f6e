"""What numbers a network is computed in."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """An axis of the candidates: one trained network gives one file for each precision.

    ``int8`` is symmetric, with zero-points 0: the one form that TensorRT and ONNX Runtime both read. In ``uint8``
    activations have zero-points of their own, which TensorRT refuses and ONNX Runtime's kernels are made for.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    UINT8 = "uint8"
