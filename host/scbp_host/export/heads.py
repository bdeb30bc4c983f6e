"""Fully connected layers as 1 x 1 convolutions, which is the same sum.

TensorRT-RTX 1.7 has no float32 matrix product for Turing ("Cannot compile operation '/fc/Gemm' for Turing (SM75): FP32
GEMM is not supported"), but all convolutions, and its builder is faster with these.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_FOUR_DIMENSIONS = np.array([1, -1, 1, 1], np.int64)


def heads_as_convolutions(written: bytes) -> bytes:
    """Return the ONNX file ``written``, of a batch of 1, with its products with stored weights as 1 x 1 Convs.

    These are torch's Linear over vectors (Gemm), and over the last axis of feature maps (MatMul), as in ConvNeXt.
    """
    model = onnx.load_model_from_string(written)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    ranks = _ranks(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if _is_linear(node, stored):
            nodes += _as_convolution(node, model.graph, stored)
        elif node.op_type == "MatMul" and node.input[1] in stored and ranks.get(node.input[0]) == 4:
            nodes += _over_the_last_axis(node, model.graph, stored)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unread(model.graph)
    rewritten: bytes = model.SerializeToString()
    return rewritten


def _is_linear(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> bool:
    """Say whether the node is what torch's Linear becomes: x W^T + b."""
    plain = {"transB": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}
    given = {own.name: helper.get_attribute_value(own) for own in node.attribute}
    return (
        node.op_type == "Gemm" and node.input[1] in stored and {"transA": 0, "alpha": 1.0, "beta": 1.0} | given == plain
    )


def _as_convolution(
    node: onnx.NodeProto, graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    source, weight, *bias = node.input
    shape, filters, wide, narrow = (f"{node.output[0]}_{part}" for part in ("shape", "filters", "wide", "narrow"))
    values = numpy_helper.to_array(stored[weight])
    graph.initializer.append(numpy_helper.from_array(_FOUR_DIMENSIONS, shape))
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values[:, :, None, None]), filters))
    return [
        helper.make_node("Reshape", [source, shape], [wide], f"{node.name}_wide"),
        helper.make_node("Conv", [wide, filters, *bias], [narrow], node.name, kernel_shape=[1, 1]),
        helper.make_node("Flatten", [narrow], [node.output[0]], f"{node.name}_flat"),
    ]


def _over_the_last_axis(
    node: onnx.NodeProto, graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    first, filters, convolved = (f"{node.output[0]}_{part}" for part in ("first", "filters", "convolved"))
    values = numpy_helper.to_array(stored[node.input[1]])
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T[:, :, None, None]), filters))
    return [
        helper.make_node("Transpose", [node.input[0]], [first], f"{node.name}_first", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", [first, filters], [convolved], node.name, kernel_shape=[1, 1]),
        helper.make_node("Transpose", [convolved], [node.output[0]], f"{node.name}_last", perm=[0, 2, 3, 1]),
    ]


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info)
    return {own.name: len(own.type.tensor_type.shape.dim) for own in values if own.type.tensor_type.HasField("shape")}


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
