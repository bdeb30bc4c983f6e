"""The time of every node of a model on the device, and which layer of the network it belongs to."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx as onnx_format

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.measurement import LayerLatencies, NodeLatency
from scbp_host.domain.outcome import Failure
from scbp_host.measuring.shipping import Float32Array, ship_tensor

# What onnxruntime makes of a name when it fuses a node or changes its layout: "fused /conv/Conv",
# "/relu/Relu_output_0_nchwc", "/fc/MatMul/MatMulAddFusion", and "_token_7" where the name was taken already.
_RUNTIME_NAME = re.compile(r"(?:fused )?(?P<name>.*?)(?:/\w*Fusion/?)?(?:_bn)?(?:_nchwc)?(?:_token_\d+)?")
# What TensorRT makes of them: "/conv/Conv + /relu/Relu", "PWN(/relu/Relu)", "{ForeignNode[/a/Conv.../b/Relu]}", and
# "Reformatting CopyNode for Input Tensor 0 to /conv/Conv".
_JOINTS = re.compile(r" \+ |\.\.\.|[\s()\[\]{},]+")
# The TorchScript exporter numbers the second call of a module: "/relu_1/Relu".
_CALL_NUMBER = re.compile(r"_\d+(?=\.|$)")


@dataclass(frozen=True)
class LayerSettings:
    """How long to profile; the time of a run depends on the model.

    Attributes:
        warmup_runs: runs that do not count.
        runs: runs whose median counts.
        timeout_s: limit of the worker, its start included.
    """

    warmup_runs: int = 5
    runs: int = 30
    timeout_s: float = 300.0


def measure_layers(
    client: DeviceClient,
    onnx: bytes,
    inputs: Float32Array | None,
    *,
    pack: bool,
    settings: LayerSettings | None = None,
) -> tuple[NodeLatency, ...] | Failure:
    """Time every node of one model, alone, under the profiler of the device's runtime.

    Args:
        client: a connected device; its profile names runtime, threads and settings.
        onnx: the model, self-contained.
        inputs: ``(n, channels, height, width)`` float32, cycled through; None means seeded noise.
        pack: whether to compress the model for the way; for filler weights.
        settings: how long; None takes the defaults.

    Returns:
        the nodes in the order executed, or why there are none.

    Raises:
        DeviceError: the device was lost for good.
    """
    chosen = settings or LayerSettings()
    model = client.ship(onnx, pack=pack)
    if isinstance(model, Failure):
        return model
    batch = None if inputs is None else ship_tensor(client, inputs)
    if isinstance(batch, Failure):
        return batch
    plan = wire.LayersPlan(
        wire.ModelRef("onnx", {"model": model}),
        client.options,
        batch,
        chosen.warmup_runs,
        chosen.runs,
        chosen.timeout_s,
        client.profile.memory_limit_bytes,
    )
    result = client.measure_layers(plan)
    return result if isinstance(result, Failure) else tuple(NodeLatency(*node) for node in result.nodes)


def charge_layers(nodes: Sequence[NodeLatency], onnx: bytes, layers: Collection[str]) -> LayerLatencies:
    """Charge every node's time to the layer that it computes or, failing that, to the one whose output it works on.

    Args:
        nodes: in the order executed.
        onnx: the model they were measured on, by torch's TorchScript exporter, whose node names hold the module.
        layers: module names that time can be charged to.
    """
    graph = _Graph(onnx_format.load_model_from_string(onnx).graph, layers)
    found = [graph.layer_of(node.name) for node in nodes]
    # Before the first node with a known layer there is no layer before: that one's it is.
    current = next((layer for layer in found if layer is not None), None)
    charged_ns: defaultdict[str, int] = defaultdict(int)
    for node, layer in zip(nodes, found, strict=True):
        current = layer or current
        if current is not None:
            charged_ns[current] += node.latency_ns
    unknown_ns = sum(node.latency_ns for node, layer in zip(nodes, found, strict=True) if layer is None)
    total_ns = sum(node.latency_ns for node in nodes)
    return LayerLatencies(dict(charged_ns), unknown_ns / total_ns if total_ns else 0.0)


class _Graph:
    """The exported graph, in which the runtime's names are looked up."""

    def __init__(self, graph: onnx_format.GraphProto, layers: Collection[str]) -> None:
        self._layers = frozenset(layers)
        self._makers = {output: node for node in graph.node for output in node.output}
        self._nodes = {node.name: node for node in graph.node}

    def layer_of(self, runtime_name: str) -> str | None:
        """Return the layer of the runtime's node; fused nodes are named after a node or an output of the graph."""
        match = _RUNTIME_NAME.fullmatch(runtime_name)
        names = (runtime_name, match["name"] if match else "", *_JOINTS.split(runtime_name))
        nodes = (self._nodes.get(name) or self._makers.get(name) for name in names)
        node = next((own for own in nodes if own is not None), None)
        return None if node is None else self._nearest_layer(node)

    def _nearest_layer(self, node: onnx_format.NodeProto) -> str | None:
        """Search backwards, breadth first: a convolution fused with its activation goes by the activation's output."""
        pending, seen = deque([node]), set(node.output)
        while pending:
            own = pending.popleft()
            if (layer := self._own_layer(own.name)) is not None:
                return layer
            for name in own.input:
                if name in self._makers and name not in seen:
                    seen.add(name)
                    pending.append(self._makers[name])
        return None

    def _own_layer(self, node_name: str) -> str | None:
        path = module_path(node_name)
        return next((own for own in (path, _CALL_NUMBER.sub("", path)) if own in self._layers), None)


def module_path(node_name: str) -> str:
    """Return the module in a node's name: ``/layer1/layer1.0/conv1/Conv`` is of ``layer1.0.conv1``."""
    parts: list[str] = []
    for scope in node_name.strip("/").split("/")[:-1]:
        # The scope of a Sequential's child repeats its parent's.
        if parts and scope.startswith(parts[-1] + "."):
            parts.pop()
        parts.append(scope)
    return ".".join(parts)
