"""Which layers stay in float: those whose eight bits disturb the outputs most, and no more than accuracy asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbp_host.export.parity import run_onnx
from scbp_host.export.quantization import Quantizer

Float32Array = NDArray[np.float32]
Score = Callable[[Float32Array], float]

# Images that a single layer's disturbance is measured on; the score takes all that are given.
_PROBED = 32
# Of the layers, at most this share stays in float: with more, eight bits are not what this network wants.
_MOST_IN_FLOAT = 0.25


@dataclass(frozen=True)
class Quantized:
    """A network with eight bits.

    Attributes:
        onnx: the file.
        in_float: layers that were left in float32, the most sensitive first.
    """

    onnx: bytes
    in_float: tuple[str, ...] = ()


def quantize(quantizer: Quantizer, exported: bytes, images: Float32Array, score: Score, max_drop: float) -> Quantized:
    """Quantize every layer, or all but the most sensitive ones where that wins back accuracy.

    The layers are tried one by one: how far are the outputs from float32's where this layer alone has eight bits? Then
    one, two, four and more of the worst are left in float until the score is within ``max_drop``. Where even a quarter
    of them does not help, nothing is left in float, and the gate that judges the device's answers says so.

    Args:
        quantizer: of the network.
        exported: the network in float32.
        images: validation images, float32 (n, channels, height, width).
        score: judges outputs (n, ...) for these images; more is better.
        max_drop: how much less than float32's the score may be.

    Raises:
        QuantizationError: the quantizer gives up on the network.
    """
    reference = run_onnx(exported, images)
    least = score(reference) - max_drop
    everything = Quantized(quantizer.write())
    if score(run_onnx(everything.onnx, images)) >= least:
        return everything
    probed = min(_PROBED, len(images))
    worst = _most_sensitive_first(quantizer, images[:probed], reference[:probed])
    count = 1
    while count <= max(1, int(_MOST_IN_FLOAT * len(worst))):
        tried = Quantized(quantizer.write(worst[:count]), tuple(worst[:count]))
        if score(run_onnx(tried.onnx, images)) >= least:
            return tried
        count *= 2
    return everything


def _most_sensitive_first(quantizer: Quantizer, images: Float32Array, reference: Float32Array) -> list[str]:
    layers = quantizer.layers
    errors = {own: _error(quantizer, layers, own, images, reference) for own in layers}
    return sorted(layers, key=lambda own: -errors[own])


def _error(
    quantizer: Quantizer, layers: Sequence[str], alone: str, images: Float32Array, reference: Float32Array
) -> float:
    """Return the root mean square difference of the outputs where ``alone`` is the only layer with eight bits."""
    outputs = run_onnx(quantizer.write([own for own in layers if own != alone]), images)
    return float(np.sqrt(np.mean((outputs - reference) ** 2)))
