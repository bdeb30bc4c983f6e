"""What the host asks for: models, arrays, and one plan for each kind of measurement."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from scbp_agent.wire.codec import WireError, field, optional_positive, positive, sha256_field

ModelRef = NamedTuple("ModelRef", [("format", str), ("blobs", Dict[str, str])])
ModelRef.__doc__ = """A model as blobs by role: ``{"format": "onnx", "blobs": {"model": sha256}}``."""

TensorRef = NamedTuple("TensorRef", [("sha256", str), ("dtype", str), ("shape", Tuple[int, ...])])
TensorRef.__doc__ = (
    """A raw little-endian C-order array in a blob; ``dtype`` is numpy's name, the first axis is the batch."""
)

RuntimeOptions = NamedTuple("RuntimeOptions", [("runtime", str), ("threads", int), ("settings", Dict[str, Any])])
RuntimeOptions.__doc__ = """Which runtime runs the model, with how many intra-op threads, and what it is told beside.

``settings`` are checked by the runtime's own module: one that it does not know is a BAD_REQUEST, never ignored.
"""


RoundModel = NamedTuple("RoundModel", [("model", ModelRef), ("options", RuntimeOptions)])
RoundModel.__doc__ = """A model that takes turns with others, and how it is run."""


class PairedPlan(NamedTuple):
    """Time models in alternating blocks, forth and back (R A B | B A R | ...: for two, that is ABBA), in one worker.

    All are loaded anew ``loads`` times, since where a model's weights come to lie in memory moves its latency; from
    load to load another one leads. The first of ``models`` is the reference, which the host divides by; where nothing
    fits beside another, a model may be alone. ``blocks`` is the number for each model after each load (even); each
    block runs for about ``block_ns`` (at least two runs). With a ``sampling_ns`` there are more blocks, as many after
    every load, where they take less than this for each model. ``inputs`` are cycled through, one batch entry a run;
    None means seeded noise.

    Each warm-up takes ``warmup_ns`` and, with a ``warmup_limit_ns``, goes on until the latency does not drift any more.
    With ``period_ns`` each run begins at the next multiple of it, as if a camera gave the frames; None is a tight loop.
    ``memory_limit_bytes`` bounds the worker's address space.
    """

    models: Tuple[RoundModel, ...]
    inputs: Optional[TensorRef]
    loads: int
    blocks: int
    block_ns: int
    warmup_ns: int
    deadline_s: float
    warmup_limit_ns: Optional[int] = None
    period_ns: Optional[int] = None
    memory_limit_bytes: Optional[int] = None
    sampling_ns: Optional[int] = None

    @property
    def options(self) -> RuntimeOptions:
        """How the reference is run."""
        return self.models[0].options


class BuildPlan(NamedTuple):
    """Make ready what the runtime loads, in a worker of its own: an engine is built once, and is then in the cache."""

    model: ModelRef
    options: RuntimeOptions
    deadline_s: float
    memory_limit_bytes: Optional[int] = None


class SoloPlan(NamedTuple):
    """Load one model in a fresh worker that holds nothing else, run it, and load it again: time and memory of each.

    The timed loop takes ``runs`` runs at least, and ``loop_ns`` where that is given: power is read that often. The
    others are as in PairedPlan; the warm-up takes three runs at least.
    """

    model: ModelRef
    options: RuntimeOptions
    inputs: Optional[TensorRef]
    runs: int
    deadline_s: float
    loop_ns: Optional[int] = None
    warmup_ns: Optional[int] = None
    warmup_limit_ns: Optional[int] = None
    period_ns: Optional[int] = None
    memory_limit_bytes: Optional[int] = None


class InferPlan(NamedTuple):
    """Run every entry of ``inputs``, return the outputs, and compare them with the host's where it sent them."""

    model: ModelRef
    options: RuntimeOptions
    inputs: TensorRef
    expected: Optional[TensorRef]
    deadline_s: float
    memory_limit_bytes: Optional[int] = None


class LayersPlan(NamedTuple):
    """Time every node of one model under the runtime's own profiler, in a worker of its own.

    A profiler slows a model down, so this is never part of another measurement, and only the shares of the times count.
    """

    model: ModelRef
    options: RuntimeOptions
    inputs: Optional[TensorRef]
    warmup_runs: int
    runs: int
    deadline_s: float
    memory_limit_bytes: Optional[int] = None


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
    return RuntimeOptions(field(data, "runtime", str), positive(data, "threads"), field(data, "settings", dict))


def paired_plan(data: Dict[str, Any]) -> PairedPlan:
    """Read a PairedPlan; raises WireError."""
    models = field(data, "models", list)
    if not models or not all(isinstance(own, dict) for own in models):
        raise WireError("field 'models': expected at least one object, got %r" % (models,))
    return PairedPlan(
        tuple(_round_model(own) for own in models),
        _optional_tensor(data, "inputs"),
        positive(data, "loads"),
        positive(data, "blocks"),
        positive(data, "block_ns"),
        positive(data, "warmup_ns"),
        float(field(data, "deadline_s", int, float)),
        warmup_limit_ns=optional_positive(data, "warmup_limit_ns"),
        period_ns=optional_positive(data, "period_ns"),
        memory_limit_bytes=optional_positive(data, "memory_limit_bytes"),
        sampling_ns=optional_positive(data, "sampling_ns"),
    )


def _round_model(data: Dict[str, Any]) -> RoundModel:
    return RoundModel(model_ref(field(data, "model", dict)), runtime_options(field(data, "options", dict)))


def build_plan(data: Dict[str, Any]) -> BuildPlan:
    """Read a BuildPlan; raises WireError."""
    return BuildPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        float(field(data, "deadline_s", int, float)),
        memory_limit_bytes=optional_positive(data, "memory_limit_bytes"),
    )


def solo_plan(data: Dict[str, Any]) -> SoloPlan:
    """Read a SoloPlan; raises WireError."""
    return SoloPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        _optional_tensor(data, "inputs"),
        positive(data, "runs"),
        float(field(data, "deadline_s", int, float)),
        loop_ns=optional_positive(data, "loop_ns"),
        warmup_ns=optional_positive(data, "warmup_ns"),
        warmup_limit_ns=optional_positive(data, "warmup_limit_ns"),
        period_ns=optional_positive(data, "period_ns"),
        memory_limit_bytes=optional_positive(data, "memory_limit_bytes"),
    )


def infer_plan(data: Dict[str, Any]) -> InferPlan:
    """Read an InferPlan; raises WireError."""
    return InferPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        tensor_ref(field(data, "inputs", dict)),
        _optional_tensor(data, "expected"),
        float(field(data, "deadline_s", int, float)),
        memory_limit_bytes=optional_positive(data, "memory_limit_bytes"),
    )


def layers_plan(data: Dict[str, Any]) -> LayersPlan:
    """Read a LayersPlan; raises WireError."""
    return LayersPlan(
        model_ref(field(data, "model", dict)),
        runtime_options(field(data, "options", dict)),
        _optional_tensor(data, "inputs"),
        positive(data, "warmup_runs"),
        positive(data, "runs"),
        float(field(data, "deadline_s", int, float)),
        memory_limit_bytes=optional_positive(data, "memory_limit_bytes"),
    )


def _optional_tensor(data: Dict[str, Any], name: str) -> Optional[TensorRef]:
    value = field(data, name, dict, type(None))
    return None if value is None else tensor_ref(value)
