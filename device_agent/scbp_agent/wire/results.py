"""What the agent measured."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from scbp_agent.wire.codec import WireError, field, positive, samples

PairedResult = NamedTuple(
    "PairedResult",
    [
        ("candidate_blocks_ns", List[List[int]]),
        ("reference_blocks_ns", List[List[int]]),
        ("candidate_warmup_ns", List[int]),
        ("reference_warmup_ns", List[int]),
        ("conditions", Dict[str, Any]),
    ],
)
PairedResult.__doc__ = """Raw samples in ns, block by block in the order taken, load after load; warm-ups kept apart."""

SoloResult = NamedTuple(
    "SoloResult",
    [
        ("load_ns", int),
        ("runs_ns", List[int]),
        ("baseline_rss_bytes", int),
        ("peak_rss_bytes", int),
        ("conditions", Dict[str, Any]),
    ],
)
SoloResult.__doc__ = """Load time, the first runs, and VmHWM before the model was loaded and at the end."""

InferResult = NamedTuple(
    "InferResult",
    [
        ("dtype", str),
        ("shape", Tuple[int, ...]),
        ("data_base64", str),
        ("max_abs_difference", Optional[float]),
        ("max_abs_expected", Optional[float]),
    ],
)
InferResult.__doc__ = (
    """The model's first output for every input, and how far it is from ``expected`` (both None without)."""
)


NodeTime = NamedTuple("NodeTime", [("name", str), ("op_type", str), ("latency_ns", int)])
NodeTime.__doc__ = """One node as the runtime executed it: its name there, its operator, and the median of its times."""

LayersResult = NamedTuple("LayersResult", [("nodes", List[NodeTime]), ("conditions", Dict[str, Any])])
LayersResult.__doc__ = (
    """Every node in the order executed. Runtimes fuse nodes, so the names are not quite the model's."""
)


def paired_result(data: Dict[str, Any]) -> PairedResult:
    """Read a PairedResult; raises WireError."""
    return PairedResult(
        [samples(block) for block in field(data, "candidate_blocks_ns", list)],
        [samples(block) for block in field(data, "reference_blocks_ns", list)],
        samples(field(data, "candidate_warmup_ns", list)),
        samples(field(data, "reference_warmup_ns", list)),
        field(data, "conditions", dict),
    )


def solo_result(data: Dict[str, Any]) -> SoloResult:
    """Read a SoloResult; raises WireError."""
    return SoloResult(
        positive(data, "load_ns"),
        samples(field(data, "runs_ns", list)),
        positive(data, "baseline_rss_bytes"),
        positive(data, "peak_rss_bytes"),
        field(data, "conditions", dict),
    )


def infer_result(data: Dict[str, Any]) -> InferResult:
    """Read an InferResult; raises WireError."""
    return InferResult(
        field(data, "dtype", str),
        tuple(field(data, "shape", list)),
        field(data, "data_base64", str),
        field(data, "max_abs_difference", int, float, type(None)),
        field(data, "max_abs_expected", int, float, type(None)),
    )


def layers_result(data: Dict[str, Any]) -> LayersResult:
    """Read a LayersResult; raises WireError."""
    nodes = [_node_time(node) for node in field(data, "nodes", list)]
    return LayersResult(nodes, field(data, "conditions", dict))


def _node_time(data: Any) -> NodeTime:
    if not isinstance(data, dict):
        raise WireError("field 'nodes': expected objects, got %r" % (data,))
    latency_ns = field(data, "latency_ns", int)
    if latency_ns < 0:
        raise WireError("field 'latency_ns': expected at least 0, got %d" % latency_ns)
    return NodeTime(field(data, "name", str), field(data, "op_type", str), latency_ns)
