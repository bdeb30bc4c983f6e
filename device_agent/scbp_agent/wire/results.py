"""What the agent measured."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from scbp_agent.wire.codec import WireError, field, optional_positive, positive, samples

ModelSamples = NamedTuple("ModelSamples", [("blocks_ns", List[List[int]]), ("warmup_ns", List[int])])
ModelSamples.__doc__ = """One model's raw samples in ns, block by block in the order taken, load after load.

Apart from them the warm-ups: of each load, and then the first run of each of its blocks.
"""


class LoadRecord(NamedTuple):
    """What the kernel counted while one load of all models was warmed up and timed.

    ``waited_ns`` is how long the worker's threads together were ready to run and did not; ``stolen_ns`` how long the
    machine that this one is a guest of gave its processors to others, all of them together. None is what the kernel
    does not tell.
    """

    duration_ns: int
    waited_ns: Optional[int]
    stolen_ns: Optional[int]
    involuntary_switches: int


class PairedResult(NamedTuple):
    """The samples of each of the plan's models, in its order, and how each load went.

    ``missed_periods`` counts the frames that came and went while a run was under way, of all models together, None for
    a tight loop; ``unsteady_warmups`` how many of the warm-ups, one of each model after each load, ended while they
    still drifted.
    """

    models: List[ModelSamples]
    loads: List[LoadRecord]
    missed_periods: Optional[int]
    unsteady_warmups: int
    conditions: Dict[str, Any]


class Phase(NamedTuple):
    """One phase of a worker that holds one model only. The figures of memory overlap and are never summed.

    ``started_ns`` is on the board's monotonic clock. ``peak_rss_bytes`` is VmHWM, of this phase alone where
    ``peak_is_own``, else the highest since the worker's start. The others are None where the board cannot tell:
    ``pss_bytes`` at the phase's end; ``gpu_bytes`` then, as ``gpu_source`` counts it; ``system_bytes`` is how much less
    memory the whole board had at the worst moment than before the worker began.
    """

    started_ns: int
    duration_ns: int
    peak_rss_bytes: int
    peak_is_own: bool
    pss_bytes: Optional[int]
    gpu_bytes: Optional[int]
    gpu_source: Optional[str]
    system_bytes: Optional[int]


class Energy(NamedTuple):
    """Energy of one inference: mean power over the timed loop x its time / its inferences; nothing is taken off.

    ``mean_w`` is the mean of ``samples`` readings of ``sampler``, each the sum of ``rails``.
    """

    joules: float
    mean_w: float
    sampler: str
    rails: List[str]
    samples: int


class DeviceTimes(NamedTuple):
    """One entry for each run by the device's clock: copying the input there, computing, copying back.

    ``enqueue_ns`` is what the host took to give the computing to the device, by the host's clock.
    """

    h2d_ns: List[int]
    compute_ns: List[int]
    d2h_ns: List[int]
    enqueue_ns: List[int]


class BuildResult(NamedTuple):
    """What making ready took. ``build_ns`` is None for a runtime without such a step, and what it took then where the
    cache had it (``cached``); ``phase`` is None unless something was built now.
    """

    build_ns: Optional[int]
    cached: bool
    phase: Optional[Phase]
    baseline_rss_bytes: Optional[int]
    notes: List[str]
    conditions: Dict[str, Any]


class SoloResult(NamedTuple):
    """One model alone. ``baseline_rss_bytes`` is VmHWM before it was loaded: interpreter, runtime, inputs.

    ``cold_load`` is the process's first; ``inference`` is warm-up and timed loop; ``warm_load`` comes after the model
    was let go. ``runs_ns`` is the timed loop, ``missed_periods`` None where that was a tight one. ``notes`` are the
    runtime's own words.
    """

    baseline_rss_bytes: int
    cold_load: Phase
    inference: Phase
    warm_load: Phase
    warmup_ns: List[int]
    runs_ns: List[int]
    loop_started_ns: int
    loop_ns: int
    missed_periods: Optional[int]
    energy: Optional[Energy]
    device_times: Optional[DeviceTimes]
    notes: List[str]
    conditions: Dict[str, Any]

    @property
    def load_ns(self) -> int:
        """Time of the first load."""
        return self.cold_load.duration_ns

    @property
    def peak_rss_bytes(self) -> int:
        """What loading and running took at most, interpreter and runtime included."""
        return max(self.cold_load.peak_rss_bytes, self.inference.peak_rss_bytes)


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
        [_model_samples(own) for own in _objects(data, "models")],
        [_load_record(own) for own in _objects(data, "loads")],
        _optional_count(data, "missed_periods"),
        field(data, "unsteady_warmups", int),
        field(data, "conditions", dict),
    )


def _model_samples(data: Dict[str, Any]) -> ModelSamples:
    return ModelSamples(
        [samples(own) for own in field(data, "blocks_ns", list)], samples(field(data, "warmup_ns", list))
    )


def _load_record(data: Dict[str, Any]) -> LoadRecord:
    return LoadRecord(
        positive(data, "duration_ns"),
        _optional_count(data, "waited_ns"),
        _optional_count(data, "stolen_ns"),
        field(data, "involuntary_switches", int),
    )


def _objects(data: Dict[str, Any], name: str) -> List[Dict[str, Any]]:
    values = field(data, name, list)
    if not all(isinstance(own, dict) for own in values):
        raise WireError("field %r: expected objects, got %r" % (name, values))
    return list(values)


def build_result(data: Dict[str, Any]) -> BuildResult:
    """Read a BuildResult; raises WireError."""
    phase = field(data, "phase", dict, type(None))
    return BuildResult(
        optional_positive(data, "build_ns"),
        field(data, "cached", bool),
        None if phase is None else _phase(phase),
        optional_positive(data, "baseline_rss_bytes"),
        _texts(data, "notes"),
        field(data, "conditions", dict),
    )


def solo_result(data: Dict[str, Any]) -> SoloResult:
    """Read a SoloResult; raises WireError."""
    energy, times = (field(data, name, dict, type(None)) for name in ("energy", "device_times"))
    return SoloResult(
        positive(data, "baseline_rss_bytes"),
        _phase(field(data, "cold_load", dict)),
        _phase(field(data, "inference", dict)),
        _phase(field(data, "warm_load", dict)),
        samples(field(data, "warmup_ns", list)),
        samples(field(data, "runs_ns", list)),
        field(data, "loop_started_ns", int),
        positive(data, "loop_ns"),
        _optional_count(data, "missed_periods"),
        None if energy is None else _energy(energy),
        None if times is None else DeviceTimes(*(_durations(times, name) for name in DeviceTimes._fields)),
        _texts(data, "notes"),
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
    nodes = [_node_time(node) for node in _objects(data, "nodes")]
    return LayersResult(nodes, field(data, "conditions", dict))


def _node_time(data: Dict[str, Any]) -> NodeTime:
    latency_ns = field(data, "latency_ns", int)
    if latency_ns < 0:
        raise WireError("field 'latency_ns': expected at least 0, got %d" % latency_ns)
    return NodeTime(field(data, "name", str), field(data, "op_type", str), latency_ns)


def _phase(data: Dict[str, Any]) -> Phase:
    return Phase(
        field(data, "started_ns", int),
        positive(data, "duration_ns"),
        positive(data, "peak_rss_bytes"),
        field(data, "peak_is_own", bool),
        _optional_count(data, "pss_bytes"),
        _optional_count(data, "gpu_bytes"),
        field(data, "gpu_source", str, type(None)),
        _optional_count(data, "system_bytes"),
    )


def _energy(data: Dict[str, Any]) -> Energy:
    joules, mean_w = (float(field(data, name, int, float)) for name in ("joules", "mean_w"))
    return Energy(joules, mean_w, field(data, "sampler", str), _texts(data, "rails"), positive(data, "samples"))


def _optional_count(data: Dict[str, Any], name: str) -> Optional[int]:
    value = field(data, name, int, type(None))
    if value is not None and value < 0:
        raise WireError("field %r: expected at least 0, got %d" % (name, value))
    return None if value is None else int(value)


def _durations(data: Dict[str, Any], name: str) -> List[int]:
    values = field(data, name, list)
    if not all(type(value) is int and value >= 0 for value in values):
        raise WireError("field %r: expected integers of at least 0 (ns)" % name)
    return list(values)


def _texts(data: Dict[str, Any], name: str) -> List[str]:
    values = field(data, name, list)
    if not all(isinstance(value, str) for value in values):
        raise WireError("field %r: expected strings" % name)
    return list(values)
