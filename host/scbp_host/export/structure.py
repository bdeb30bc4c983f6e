"""The structure of a model without its weights: latency and memory do not depend on them, and it packs to a few KB.

Every weight becomes a short pseudo-random tile, repeated, which LZMA reduces to almost nothing. The values keep
activations in float32's normal range: denormals would slow a CPU down and falsify the timing.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from scbp_host.export.onnx import check_onnx, export_onnx

# A prime length: rows of a weight matrix start at different places of the tile, so channels differ.
_TILE_LENGTH = 251
_BIAS_SCALE = 0.01
# Float inputs of these operators say what to do, not what was learnt.
_CONSTANT_TAKERS = frozenset({"Resize", "Upsample", "Pad", "Clip", "Range", "OneHot"})
_BATCH_NORM_SCALE, _BATCH_NORM_VARIANCE = 1, 4


def structure_onnx(module: nn.Module, input_shape: tuple[int, int, int], *, opset: int, ir_version: int) -> bytes:
    """Write ``module``'s structure: the same operators as :func:`export_onnx`, filler in place of every weight.

    Args:
        module: trained or not, on the CPU; left as it was.
        input_shape: (channels, height, width) of one image.
        opset: of the default domain.
        ir_version: of the file.

    Raises:
        ExportError: as :func:`export_onnx`.
    """
    written = without_weights(export_onnx(module, input_shape, opset=opset, ir_version=ir_version))
    check_onnx(written, opset=opset, ir_version=ir_version)
    return written


def without_weights(written: bytes) -> bytes:
    """Return the ONNX file ``written`` with filler in place of every weight; shapes and constants stay."""
    model = onnx.load_model_from_string(written)
    uses = _first_uses(model.graph)
    for tensor in model.graph.initializer:
        operator, position = uses.get(tensor.name, ("", 0))
        if _is_weight(tensor, operator):
            filler = _filler(tuple(tensor.dims), operator, position)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(numpy_helper.from_array(filler.astype(dtype), tensor.name))
    stripped: bytes = model.SerializeToString()
    return stripped


def _first_uses(graph: onnx.GraphProto) -> dict[str, tuple[str, int]]:
    uses: dict[str, tuple[str, int]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            uses.setdefault(name, (node.op_type, position))
    return uses


def _is_weight(tensor: onnx.TensorProto, operator: str) -> bool:
    floating = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return floating and len(tensor.dims) > 0 and operator not in _CONSTANT_TAKERS


def _filler(shape: tuple[int, ...], operator: str, position: int) -> NDArray[np.float32]:
    """Return a repeated tile of ``shape``, scaled to what the tensor does.

    A weight of rank 2 or more has He et al.'s standard deviation sqrt(2 / fan_in), which keeps the variance of ReLU
    activations ("Delving Deep into Rectifiers", ICCV 2015, eq. 10); a vector is small and positive; scale and variance
    of a BatchNorm are near 1.
    """
    tile = _tile()
    if len(shape) > 1:
        tile = tile * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    elif operator == "BatchNormalization" and position in (_BATCH_NORM_SCALE, _BATCH_NORM_VARIANCE):
        tile = np.abs(tile)
    else:
        tile = np.abs(tile) * np.float32(_BIAS_SCALE)
    return np.resize(tile.astype(np.float32), shape)


def _tile() -> NDArray[np.float32]:
    """Return (251,) values of mean near 0 and deviation 1, none of them near 0."""
    # RandomState's stream is frozen by numpy: the same structure has the same hash on every machine.
    random = np.random.RandomState(1)
    values = random.uniform(0.5, 1.5, _TILE_LENGTH) * random.choice([-1.0, 1.0], _TILE_LENGTH)
    scaled: NDArray[np.float32] = (values / values.std()).astype(np.float32)
    return scaled
