"""What TensorRT's Python API is like on this board, found by looking at it: 8.0 to 11, and TensorRT-RTX.

This is the one place that asks which names there are. What exists in which version, and since when it is deprecated, is
in tests/data/tensorrt_api.toml with its sources.
"""

import collections
import functools
import json
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

from scbp_agent import wire
from scbp_agent.probing import Source
from scbp_agent.runtimes import advice, libraries

Family = NamedTuple("Family", [("modules", Tuple[str, ...]), ("is_rtx", bool)])
Family.__doc__ = (
    """The names under which a TensorRT is imported, the first that is there; and which of the two it is."""
)

Tensor = NamedTuple("Tensor", [("index", int), ("name", str), ("is_input", bool), ("dtype", str)])
Tensor.__doc__ = """One input or output of an engine; ``dtype`` as numpy names it."""

FAMILIES = {
    "tensorrt": Family(("tensorrt",), False),
    # The second is what the bindings' wheel alone brings.
    "tensorrt-rtx": Family(("tensorrt_rtx", "tensorrt_rtx_bindings"), True),
}
# From this on NVIDIA wants types to come from the model: the flags for half and int8 are deprecated, and gone in 11.
_TYPED_BY_THE_MODEL = (10, 12)
# Newest ONNX opset of the parser that comes with a version. [onnx/onnx-tensorrt docs/operators.md at each release]
_OPSETS = (((10, 13), 24), ((10, 9), 22), ((10, 0), 20), ((8, 5), 17), ((8, 0), 13))
# numpy's own names, since nptype() of TensorRT 8 fails with numpy 1.24 and later.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_FLAGS = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",), "int8+fp16": ("INT8", "FP16")}
_WARNING = 2
_KEPT_LINES = 500


def find(name: str) -> "Api":
    """Return the API of one of FAMILIES; raises CAPABILITY_MISSING where this Python has none of its modules."""
    family = FAMILIES[name]
    return _api(libraries.require(name, family.modules, lambda: advice.tensorrt_hint(Source(), name)), family)


@functools.lru_cache(maxsize=None)
def _api(library: Any, family: Family) -> "Api":
    # One for each process: TensorRT writes to the first logger that it was ever given.
    return Api(library, family)


class Api(object):
    """One TensorRT.

    Attributes:
        library: its module.
        version: as the library says it.
        logger: what the library writes to.
        typed_by_flags: whether half and int8 are asked for by a flag of the builder, not by the model's own types.
        max_opset: the newest ONNX opset of its parser; None where that is not known.
    """

    def __init__(self, library: Any, family: Family) -> None:
        self.library = library
        self.version = str(library.__version__)
        self.logger = _make_logger(library)
        has_flags = hasattr(library.BuilderFlag, "FP16")
        self.typed_by_flags = has_flags and _release(self.version) < _TYPED_BY_THE_MODEL
        self.max_opset = None if family.is_rtx else _newest_opset(_release(self.version))
        self._must_ask_for_strong_types = has_flags and not self.typed_by_flags
        self._has_bindings = hasattr(library.ICudaEngine, "num_bindings")
        self._has_names = hasattr(library.ICudaEngine, "num_io_tensors")
        # RTX's timing caches hold nothing, and to set one is deprecated since its 1.2.
        self._has_timing_cache = not family.is_rtx
        if not family.is_rtx:
            # The parser makes some operators, such as InstanceNormalization, out of plugins that come with TensorRT.
            library.init_libnvinfer_plugins(self.logger, "")

    # The builder's side

    def create_network(self, builder: Any) -> Any:
        """Return an empty network that takes what the parser reads."""
        names = []
        if self._has_bindings:
            # 8 has implicit batch dimensions as well, which the ONNX parser refuses.
            names.append("EXPLICIT_BATCH")
        if self._must_ask_for_strong_types:
            names.append("STRONGLY_TYPED")
        flags = [getattr(self.library.NetworkDefinitionCreationFlag, name) for name in names]
        return builder.create_network(sum(1 << int(flag) for flag in flags))

    def missing_precision(self, builder: Any, precision: str) -> Optional[str]:
        """Return which of a precision's types this GPU has no fast arithmetic for; None for none."""
        # Where the model's own types count, asking is deprecated, and then gone.
        asked = _FLAGS[precision] if self.typed_by_flags else ()
        return next((name for name in asked if not getattr(builder, "platform_has_fast_" + name.lower())), None)

    def set_precision(self, config: Any, precision: str, tf32: bool) -> None:
        """Allow the types of ``precision``, where flags are what does that."""
        flags = self.library.BuilderFlag
        if self.typed_by_flags:
            for name in _FLAGS[precision]:
                config.set_flag(getattr(flags, name))
        if not tf32:
            config.clear_flag(flags.TF32)

    def lacks_types(self, network: Any, precision: str) -> bool:
        """Return whether the network itself lacks what ``precision`` needs of it."""
        needed = _FLAGS[precision]
        if "INT8" in needed and "QUANTIZE" not in {_last_word(layer.type) for layer in _layers(network)}:
            return True
        return "FP16" in needed and not self.typed_by_flags and not self._has_half(network)

    def _has_half(self, network: Any) -> bool:
        half = self.library.DataType.HALF
        outputs = (layer.get_output(index) for layer in _layers(network) for index in range(layer.num_outputs))
        return any(output.dtype == half for output in outputs)

    def limit_workspace(self, config: Any, size_bytes: int) -> None:
        """Bound the builder's scratch memory: by default it is none in 8.2, and all that there is from 8.4 on."""
        if hasattr(config, "set_memory_pool_limit"):
            config.set_memory_pool_limit(self.library.MemoryPoolType.WORKSPACE, size_bytes)
        else:
            config.max_workspace_size = size_bytes

    def set_optimization_level(self, config: Any, level: int) -> None:
        """Set how hard the builder tries (0 to 5); raises CAPABILITY_MISSING before 8.6."""
        if not hasattr(config, "builder_optimization_level"):
            message = "TensorRT %s has no optimisation level" % self.version
            raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, "leave out the setting optimization_level")
        config.builder_optimization_level = level

    def set_target(self, config: Any, name: str) -> None:
        """Build for another GPU than this one (``SM86``); raises CAPABILITY_MISSING but in TensorRT-RTX."""
        if not hasattr(config, "set_compute_capability"):
            message = "TensorRT %s builds for the GPU that it runs on" % self.version
            raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, "leave out the setting compute_capability")
        known = self.library.ComputeCapability
        if not hasattr(known, name):
            message = "setting 'compute_capability': TensorRT %s does not know %r" % (self.version, name)
            raise wire.AgentFailure(wire.BAD_REQUEST, message, "it is written like SM86")
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(known, name), 0)

    def keep_layer_names(self, config: Any) -> None:
        """Let the engine keep what the inspector tells of its layers; it runs no slower for it."""
        words = self.library.ProfilingVerbosity
        # 8.0 calls it otherwise.
        config.profiling_verbosity = words.DETAILED if hasattr(words, "DETAILED") else words.VERBOSE

    def load_timing_cache(self, config: Any, content: bytes) -> bool:
        """Give the builder what earlier builds timed; returns False where there is no such thing."""
        if not self._has_timing_cache:
            return False
        for serialized in (content, b""):
            cache = config.create_timing_cache(serialized)
            # A cache of another version or GPU is refused: begin a new one.
            if cache is not None and config.set_timing_cache(cache, False):
                return True
        return False

    def timing_cache(self, config: Any) -> bytes:
        """Return what the builder knows by now."""
        return bytes(config.get_timing_cache().serialize())

    # The engine's side

    def tensors(self, engine: Any) -> List[Tensor]:
        """Return the engine's inputs and outputs, in its order."""
        if not self._has_names:
            return [self._binding(engine, index) for index in range(engine.num_bindings)]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [self._named(engine, index, name) for index, name in enumerate(names)]

    def _named(self, engine: Any, index: int, name: str) -> Tensor:
        is_input = engine.get_tensor_mode(name) == self.library.TensorIOMode.INPUT
        return Tensor(index, name, is_input, _numpy_name(engine.get_tensor_dtype(name)))

    def _binding(self, engine: Any, index: int) -> Tensor:
        dtype = _numpy_name(engine.get_binding_dtype(index))
        return Tensor(index, engine.get_binding_name(index), engine.binding_is_input(index), dtype)

    def shape(self, context: Any, tensor: Tensor) -> Tuple[int, ...]:
        """Return a tensor's shape in this context; -1 is a size that is still open."""
        if self._has_names:
            return tuple(context.get_tensor_shape(tensor.name))
        return tuple(context.get_binding_shape(tensor.index))

    def set_input_shape(self, context: Any, tensor: Tensor, shape: Sequence[int]) -> None:
        """Settle an input's open sizes."""
        if self._has_names:
            context.set_input_shape(tensor.name, tuple(shape))
        else:
            context.set_binding_shape(tensor.index, tuple(shape))

    def enqueue(self, context: Any, addresses: Sequence[int]) -> Callable[[int], bool]:
        """Return what gives one run to a stream (its handle), over the tensors' device addresses in their order."""
        if not self._has_names:
            return lambda stream: bool(context.execute_async_v2(bindings=list(addresses), stream_handle=stream))
        for tensor, address in zip(self.tensors(context.engine), addresses):
            context.set_tensor_address(tensor.name, address)
        return lambda stream: bool(context.execute_async_v3(stream))

    def activation_bytes(self, engine: Any) -> int:
        """Return the scratch memory that a context of this engine takes on the device; weights are not in it."""
        newer = hasattr(self.library.ICudaEngine, "device_memory_size_v2")
        name = "device_memory_size_v2" if newer else "device_memory_size"
        return int(getattr(engine, name))

    def layer_types(self, engine: Any) -> Dict[str, str]:
        """Return what the engine inspector calls each layer's kind, by the layer's name; empty where it cannot say."""
        if not hasattr(engine, "create_engine_inspector"):
            return {}
        form = self.library.LayerInformationFormat.JSON
        told = json.loads(engine.create_engine_inspector().get_engine_information(form))
        layers = [layer for layer in told.get("Layers", []) if isinstance(layer, dict)]
        return {str(layer.get("Name", "")): str(layer.get("LayerType", "")) for layer in layers}

    def make_profiler(self, report: Callable[[str, float], None]) -> Any:
        """Return an IProfiler that hands each layer's name and milliseconds on."""
        library = self.library

        class Profiler(library.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                library.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        return Profiler()


def _make_logger(library: Any) -> Any:
    class Logger(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: Deque[str] = collections.deque(maxlen=_KEPT_LINES)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= _WARNING:
                self.lines.append(msg)

        def take(self) -> List[str]:
            """Return the warnings and errors since the last call, and forget them."""
            lines = list(self.lines)
            self.lines.clear()
            return lines

    return Logger()


def _release(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _newest_opset(release: Tuple[int, ...]) -> Optional[int]:
    return next((opset for since, opset in _OPSETS if release >= since), None)


def _layers(network: Any) -> List[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def _last_word(enumerator: Any) -> str:
    return str(enumerator).rpartition(".")[2]


def _numpy_name(dtype: Any) -> str:
    name = _last_word(dtype)
    if name not in _DTYPES:
        raise wire.AgentFailure(wire.BAD_MODEL, "an input or output is of type %s; expected a plain one" % name)
    return _DTYPES[name]
