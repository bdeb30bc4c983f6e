"""What crosses between host and agent: one JSON object a line, requests in, replies and notes out.

A request is ``{"id": 1, "method": "hello", "params": {...}}``. Its reply is ``{"id": 1, "ok": true, "result": {...}}``
or ``{"id": 1, "ok": false, "error": {"kind", "message", "hint", "transient"}}``. Before the reply any number of notes
``{"id": 1, "note": "text"}`` may come. The first request of a session is ``hello``, which carries the host's
PROTOCOL_VERSION.

This is the only module that host and agent share.
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

PROTOCOL_VERSION = 1
MAX_LINE_BYTES = 64 * 1024 * 1024

HELLO = "hello"
HAVE = "have"
ADMIT = "admit"
MEASURE_PAIRED = "measure_paired"
MEASURE_SOLO = "measure_solo"
INFER = "infer"
SHUTDOWN = "shutdown"

# Failure kinds: the agent's half of the host's FailureKind.
OUT_OF_MEMORY = "OUT_OF_MEMORY"
TIMEOUT = "TIMEOUT"
WORKER_CRASHED = "WORKER_CRASHED"
BAD_MODEL = "BAD_MODEL"
HASH_MISMATCH = "HASH_MISMATCH"
BLOB_MISSING = "BLOB_MISSING"
DISK_FULL = "DISK_FULL"
CAPABILITY_MISSING = "CAPABILITY_MISSING"
PROTOCOL_MISMATCH = "PROTOCOL_MISMATCH"
BAD_REQUEST = "BAD_REQUEST"
AGENT_ERROR = "AGENT_ERROR"

# How a blob was packed for the way: as it is, or as an .xz stream.
RAW = "raw"
XZ = "xz"


class WireError(Exception):
    """A line, or a field of it, that is not the protocol."""


class AgentFailure(Exception):
    """A typed failure on its way to the reply."""

    def __init__(self, kind: str, message: str, hint: str = "", transient: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.transient = transient

    def to_wire(self) -> Dict[str, Any]:
        """Return the reply's ``error`` object."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint, "transient": self.transient}


def encode(message: Dict[str, Any]) -> bytes:
    """Return one line, newline included."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("utf-8") + b"\n"


def decode(line: bytes) -> Dict[str, Any]:
    """Parse one line; raises WireError for anything but one JSON object."""
    try:
        message = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise WireError("not a JSON line: %r (%s)" % (line[:80], error))
    if not isinstance(message, dict):
        raise WireError("expected a JSON object, got %r" % (line[:80],))
    return message


def field(data: Dict[str, Any], name: str, *kinds: type) -> Any:
    """Return ``data[name]``, checked to be of one of ``kinds``; raises WireError naming the field."""
    if name not in data:
        raise WireError("field %r is missing" % name)
    value = data[name]
    # bool is an int to isinstance, but never to this protocol.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise WireError("field %r: expected %s, got %r" % (name, wanted, value))
    return value


ModelRef = NamedTuple("ModelRef", [("format", str), ("blobs", Dict[str, str])])
ModelRef.__doc__ = """A model as blobs by role: ``{"format": "onnx", "blobs": {"model": sha256}}``."""

TensorRef = NamedTuple("TensorRef", [("sha256", str), ("dtype", str), ("shape", Tuple[int, ...])])
TensorRef.__doc__ = (
    """A raw little-endian C-order array in a blob; ``dtype`` is numpy's name, the first axis is the batch."""
)

RuntimeOptions = NamedTuple("RuntimeOptions", [("runtime", str), ("threads", int)])
RuntimeOptions.__doc__ = """Which runtime runs the model, with how many intra-op threads."""

PairedPlan = NamedTuple(
    "PairedPlan",
    [
        ("candidate", ModelRef),
        ("reference", ModelRef),
        ("options", RuntimeOptions),
        ("inputs", Optional[TensorRef]),
        ("loads", int),
        ("blocks", int),
        ("block_ns", int),
        ("warmup_ns", int),
        ("deadline_s", float),
    ],
)
PairedPlan.__doc__ = """Time candidate and reference in alternating blocks, in the order ABBA, in one worker.

Both are loaded anew ``loads`` times, since where a model's weights come to lie in memory moves its latency; ``blocks``
is the number for each model after each load (even); each block runs for about ``block_ns`` (at least two runs);
``inputs`` are cycled through, one batch entry a run; None means seeded noise.
"""

SoloPlan = NamedTuple(
    "SoloPlan",
    [
        ("model", ModelRef),
        ("options", RuntimeOptions),
        ("inputs", Optional[TensorRef]),
        ("runs", int),
        ("deadline_s", float),
    ],
)
SoloPlan.__doc__ = """Load one model in a fresh worker that holds nothing else, and run it: memory and load time."""

InferPlan = NamedTuple(
    "InferPlan",
    [
        ("model", ModelRef),
        ("options", RuntimeOptions),
        ("inputs", TensorRef),
        ("expected", Optional[TensorRef]),
        ("deadline_s", float),
    ],
)
InferPlan.__doc__ = (
    """Run every entry of ``inputs``, return the outputs, and compare them with the host's where it sent them."""
)

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


def to_wire(message: Any) -> Any:
    """Turn a message (NamedTuples, lists, dicts of plain values) into JSON values."""
    if hasattr(message, "_asdict"):
        return {name: to_wire(value) for name, value in message._asdict().items()}
    if isinstance(message, dict):
        return {name: to_wire(value) for name, value in message.items()}
    if isinstance(message, (list, tuple)):
        return [to_wire(value) for value in message]
    return message


def model_ref(data: Dict[str, Any]) -> ModelRef:
    """Read a ModelRef; raises WireError."""
    blobs = field(data, "blobs", dict)
    for role in blobs:
        sha256_field(blobs, role)
    return ModelRef(field(data, "format", str), blobs)


def tensor_ref(data: Dict[str, Any]) -> TensorRef:
    """Read a TensorRef; raises WireError."""
    shape = tuple(field(data, "shape", list))
    if not shape or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape):
        raise WireError("field 'shape': expected positive integers, got %r" % (shape,))
    return TensorRef(sha256_field(data, "sha256"), field(data, "dtype", str), shape)


def runtime_options(data: Dict[str, Any]) -> RuntimeOptions:
    """Read RuntimeOptions; raises WireError."""
    return RuntimeOptions(field(data, "runtime", str), _positive(data, "threads"))


def paired_plan(data: Dict[str, Any]) -> PairedPlan:
    """Read a PairedPlan; raises WireError."""
    return PairedPlan(
        model_ref(field(data, "candidate", dict)),
        model_ref(field(data, "reference", dict)),
        runtime_options(field(data, "options", dict)),
        _optional_tensor(data, "inputs"),
        _positive(data, "loads"),
        _positive(data, "blocks"),
        _positive(data, "block_ns"),
        _positive(data, "warmup_ns"),
        float(field(data, "deadline_s", int, float)),
    )


def solo_plan(data: Dict[str, Any]) -> SoloPlan:
    """Read a SoloPlan; raises WireError."""
    return SoloPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        _optional_tensor(data, "inputs"),
        _positive(data, "runs"),
        float(field(data, "deadline_s", int, float)),
    )


def infer_plan(data: Dict[str, Any]) -> InferPlan:
    """Read an InferPlan; raises WireError."""
    return InferPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        tensor_ref(field(data, "inputs", dict)),
        _optional_tensor(data, "expected"),
        float(field(data, "deadline_s", int, float)),
    )


def paired_result(data: Dict[str, Any]) -> PairedResult:
    """Read a PairedResult; raises WireError."""
    return PairedResult(
        [_samples(block) for block in field(data, "candidate_blocks_ns", list)],
        [_samples(block) for block in field(data, "reference_blocks_ns", list)],
        _samples(field(data, "candidate_warmup_ns", list)),
        _samples(field(data, "reference_warmup_ns", list)),
        field(data, "conditions", dict),
    )


def solo_result(data: Dict[str, Any]) -> SoloResult:
    """Read a SoloResult; raises WireError."""
    return SoloResult(
        _positive(data, "load_ns"),
        _samples(field(data, "runs_ns", list)),
        _positive(data, "baseline_rss_bytes"),
        _positive(data, "peak_rss_bytes"),
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


def _positive(data: Dict[str, Any], name: str) -> int:
    value = int(field(data, name, int))
    if value <= 0:
        raise WireError("field %r: expected a positive integer, got %r" % (name, value))
    return value


def sha256_field(data: Dict[str, Any], name: str) -> str:
    """Return ``data[name]``, checked to be a SHA-256: it becomes a file name on the board. Raises WireError."""
    value = str(field(data, name, str))
    if len(value) != 64 or any(letter not in "0123456789abcdef" for letter in value):
        raise WireError("field %r: expected a SHA-256 in lower-case hex, got %r" % (name, value[:80]))
    return value


def _samples(values: Any) -> List[int]:
    if not isinstance(values, list) or not values or not all(type(value) is int and value > 0 for value in values):
        raise WireError("expected a list of positive integers (ns), got %r" % (values,))
    return values


def _optional_tensor(data: Dict[str, Any], name: str) -> Optional[TensorRef]:
    value = field(data, name, dict, type(None))
    return None if value is None else tensor_ref(value)
