"""TensorRT of any generation, built from the table in tests/data/tensorrt_api.toml, over a GPU that is not there.

A class has the members that the table gives it in that generation and no others, so that a removed name fails with an
AttributeError; what is deprecated is noted when it is used. What the members do is one implementation for all
generations: an engine is its ONNX behind a header, and is executed by onnxruntime in the memory of the stand-in GPU.
"""

from __future__ import annotations

import enum
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from gpu_standin import Gpu, cuda_python_modules, pycuda_modules

TABLE: dict[str, dict[str, str]] = tomllib.loads(
    (Path(__file__).parent / "data" / "tensorrt_api.toml").read_text(encoding="utf-8")
)
VERSIONS = TABLE.pop("versions")
_ENUMS = (
    "BuilderFlag",
    "NetworkDefinitionCreationFlag",
    "MemoryPoolType",
    "ProfilingVerbosity",
    "LayerInformationFormat",
    "TensorIOMode",
    "DataType",
)
_TYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF", onnx.TensorProto.INT8: "INT8"}
_LAYERS = {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
_SCRATCH_BYTES = 4096


class Standin(ModuleType):
    """One generation of TensorRT.

    Attributes:
        runtime: the agent's name for it.
        deprecated_uses: every use of something that is deprecated in this generation.
        refuses: given the configuration's state, the log line of a build that fails, or None.
        build_lines: what a build that succeeds writes to the log.
        fast: the precisions that the GPU is fast in.
        plugins_for: the loggers that the plugins were registered with.
        executed: by which members engines were executed.
        configs: the state of every configuration that something was built with.
        max_opset: of the parser.
    """

    def __init__(self, generation: str, gpu: Gpu) -> None:
        super().__init__("tensorrt")
        self.__version__ = VERSIONS[generation]
        self.generation = generation
        self.runtime = "tensorrt-rtx" if generation == "rtx" else "tensorrt"
        self.gpu = gpu
        self.deprecated_uses: list[str] = []
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda state: None
        self.build_lines: list[str] = []
        self.fast = {"fp16", "int8"}
        self.executed: set[str] = set()
        self.configs: list[dict[str, Any]] = []
        self.max_opset = 13
        self.needs_explicit_batch = float(generation.replace("rtx", "99")) < 10
        for name in _ENUMS:
            setattr(self, name, self._enum(name))
        if generation == "rtx":
            self.ComputeCapability = enum.Enum("ComputeCapability", ["SM75", "SM80", "SM86", "SM89", "SM120", "SM121"])
        self.ILogger, self.IProfiler = Bound, Bound
        self.plugins_for: list[Any] = []
        for name, behaviour in _BEHAVIOURS.items():
            setattr(self, name, self._class(name, behaviour))

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool:
        """In every version; python/src/infer/pyPlugin.cpp."""
        self.plugins_for.append(logger)
        return True

    def exists(self, owner: str, member: str) -> bool:
        return self.generation in self._states(owner, member)

    def is_deprecated(self, owner: str, member: str) -> bool:
        return f"{self.generation}d" in TABLE[owner][member].split()

    def use(self, owner: str, member: str) -> None:
        if self.is_deprecated(owner, member):
            self.deprecated_uses.append(f"{owner}.{member}")

    def show(self, name: str, *arguments: Any) -> Any:
        """Return a new object of a class as this generation shows it."""
        return getattr(self, name)(*arguments)

    def show_again(self, name: str, own: Any) -> Any:
        """Return what has been made before as this generation shows it."""
        shown = object.__new__(getattr(self, name))
        object.__setattr__(shown, "own", own)
        return shown

    def _states(self, owner: str, member: str) -> set[str]:
        return {state.removesuffix("d") for state in TABLE[owner][member].split()}

    def _enum(self, name: str) -> type[enum.Enum]:
        return NumberedEnum(name, [member for member in TABLE[name] if self.exists(name, member)], start=0)

    def _class(self, name: str, behaviour: type) -> type:
        own = {member: self._member(name, member) for member in TABLE[name] if self.exists(name, member)}
        module = self

        def create(self: Any, *arguments: Any) -> None:
            object.__setattr__(self, "own", behaviour(module, *arguments))

        def refuse(self: Any, member: str, value: Any) -> None:
            if member not in own:
                raise AttributeError(f"{name} of {module.__version__} has no attribute {member!r}")
            object.__setattr__(self, member, value)

        return type(name, (), {**own, "__init__": create, "__setattr__": refuse})

    def _member(self, owner: str, member: str) -> property:
        module = self

        def get(self: Any) -> Any:
            module.use(owner, member)
            return getattr(self.own, member)

        def put(self: Any, value: Any) -> None:
            module.use(owner, member)
            setattr(self.own, member, value)

        return property(get, put)


class NumberedEnum(enum.Enum):
    """As pybind makes them: an int() of each, and a str() with the class's name."""

    def __int__(self) -> int:
        return int(self.value)


class Bound:
    """A class to derive from, which insists on being initialised, as pybind's do."""

    WARNING = 2

    def __init__(self) -> None:
        self.initialised = True


class _Builder:
    def __init__(self, module: Standin, logger: Any) -> None:
        assert logger.initialised
        self._module, self._logger = module, logger

    @property
    def platform_has_fast_fp16(self) -> bool:
        return "fp16" in self._module.fast

    @property
    def platform_has_fast_int8(self) -> bool:
        return "int8" in self._module.fast

    def create_network(self, flags: int = 0) -> Any:
        known = self._module.NetworkDefinitionCreationFlag
        names = [flag.name for flag in known if flags >> int(flag) & 1]
        assert flags < 1 << len(list(known)), "a flag that this generation does not have"
        for name in names:
            self._module.use("NetworkDefinitionCreationFlag", name)
        return self._module.show("INetworkDefinition", names)

    def create_builder_config(self) -> Any:
        return self._module.show("IBuilderConfig")

    def create_optimization_profile(self) -> Any:
        return self._module.show("IOptimizationProfile")

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        state = config.own.state(network.own)
        self._module.configs.append(state)
        refusal = self._module.refuses(state)
        if refusal is not None:
            self._logger.log(1, refusal)
            return None
        for line in self._module.build_lines:
            self._logger.log(2, line)
        config.own.learn()
        header = json.dumps({"version": self._module.__version__, "shape": state["shape"]}).encode()
        return header + b"\n" + network.own.content


class _Network:
    def __init__(self, module: Standin, flags: list[str]) -> None:
        self.module, self.names, self.content = module, flags, b""
        self.model = onnx.ModelProto()

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    @property
    def num_layers(self) -> int:
        return len(self.model.graph.node)

    def get_input(self, index: int) -> Any:
        return self.module.show("ITensor", self.model.graph.input[index])

    def get_layer(self, index: int) -> Any:
        return self.module.show("ILayer", self, self.model.graph.node[index])


class _Layer:
    def __init__(self, module: Standin, network: _Network, node: onnx.NodeProto) -> None:
        self._module, self._network, self._node = module, network, node

    @property
    def type(self) -> str:
        return f"LayerType.{_LAYERS.get(self._node.op_type, self._node.op_type.upper())}"

    @property
    def num_outputs(self) -> int:
        return len(self._node.output)

    def get_output(self, index: int) -> Any:
        graph = onnx.shape_inference.infer_shapes(self._network.model).graph
        values = {value.name: value for value in (*graph.value_info, *graph.output)}
        return self._module.show("ITensor", values[self._node.output[index]])


class _Tensor:
    def __init__(self, module: Standin, value: onnx.ValueInfoProto) -> None:
        self.name = value.name
        self.shape = tuple(size.dim_value or -1 for size in value.type.tensor_type.shape.dim)
        self.dtype = getattr(module.DataType, _TYPES[value.type.tensor_type.elem_type])


class _Profile:
    def __init__(self, module: Standin) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


class _Parser:
    def __init__(self, module: Standin, network: Any, logger: Any) -> None:
        self._module, self._network, self._said = module, network.own, [""]

    @property
    def num_errors(self) -> int:
        return len(self._said)

    def get_error(self, index: int) -> Any:
        return self._module.show("ParserError", self._said[index])

    def parse(self, content: bytes) -> bool:
        self._said = [reason for reason in [self._refusal(content)] if reason]
        return not self._said

    def _refusal(self, content: bytes) -> str:
        try:
            model = onnx.load_model_from_string(content)
        except DecodeError as error:
            return f"Failed to parse the ONNX model: {error}"
        if self._module.needs_explicit_batch and "EXPLICIT_BATCH" not in self._network.names:
            return "This version of the ONNX parser only supports networks with an explicit batch dimension"
        if model.opset_import[0].version > self._module.max_opset:
            return f"opset {model.opset_import[0].version} is newer than\n{self._module.max_opset}"
        self._network.model, self._network.content = model, content
        return ""


class _ParserError:
    def __init__(self, module: Standin, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class _TimingCache:
    def __init__(self, module: Standin, learnt: bytes) -> None:
        self.learnt = learnt

    def serialize(self) -> bytes:
        return self.learnt


class _Config:
    def __init__(self, module: Standin) -> None:
        self._module = module
        # [facts: max_workspace_size is 0 by default; a memory pool has all that there is]
        self.max_workspace_size = 0
        self.profiling_verbosity: Any = None
        self.builder_optimization_level: int | None = None
        self.num_compute_capabilities = 0
        self._pool: int | None = None
        self._flags = {"TF32"}
        self._target: Any = None
        self._profiles: list[Any] = []
        self._cache: Any = None
        self._learnt_from = b""

    def set_flag(self, flag: Any) -> None:
        self._module.use("BuilderFlag", flag.name)
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, size_bytes: int) -> None:
        assert pool is self._module.MemoryPoolType.WORKSPACE
        self._pool = size_bytes

    def add_optimization_profile(self, profile: Any) -> None:
        self._profiles.append(profile.own)

    def set_compute_capability(self, capability: Any, index: int) -> None:
        assert index < self.num_compute_capabilities
        self._target = capability.name

    def create_timing_cache(self, content: bytes) -> Any:
        prefix = self._module.__version__.encode()
        return self._module.show("ITimingCache", content or prefix) if content[: len(prefix)] in (b"", prefix) else None

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache, self._learnt_from = cache, cache.own.learnt
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    def learn(self) -> None:
        if self._cache is not None:
            self._cache.own.learnt += b"+"

    def state(self, network: _Network) -> dict[str, Any]:
        """Return in plain values what is built with this."""
        (tensor,) = network.model.graph.input
        shape = _Tensor(self._module, tensor).shape
        if -1 in shape:
            assert self._profiles, "a network with open sizes needs an optimisation profile"
            shape = self._profiles[0].shapes[tensor.name][1]
        named = self._module.exists("IBuilderConfig", "set_memory_pool_limit")
        return {
            "shape": shape,
            "workspace_bytes": self._pool if named else self.max_workspace_size,
            "flags": self._flags,
            "network": network.names,
            "level": self.builder_optimization_level,
            "verbosity": self.profiling_verbosity.name,
            "target": self._target,
            "learnt_from": self._learnt_from,
        }


class _Runtime:
    def __init__(self, module: Standin, logger: Any) -> None:
        self._module, self._logger = module, logger

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        header, _, model = content.partition(b"\n")
        try:
            about = json.loads(header)
        except ValueError:
            about = {}
        if about.get("version") == self._module.__version__:
            return self._module.show("ICudaEngine", model, about["shape"])
        # [NVIDIA/TensorRT#2072]
        self._logger.log(
            1,
            "1: [stdArchiveReader.cpp::StdArchiveReader::40] Error Code 1: Serialization (Serialization assertion"
            " stdVersionRead == serializationVersion failed.Version tag does not match.)",
        )
        return None


class _Engine:
    def __init__(self, module: Standin, model: bytes, shape: list[int]) -> None:
        self.module, self.session, self._shape = module, onnxruntime.InferenceSession(model), tuple(shape)
        self.inputs = [entry.name for entry in self.session.get_inputs()]
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        self.names = [*self.inputs, *self.outputs]
        self.num_bindings = self.num_io_tensors = len(self.names)
        self.device_memory_size = self.device_memory_size_v2 = _SCRATCH_BYTES
        nodes = onnx.load_model_from_string(model).graph.node
        self.nodes = [node.name or f"{node.op_type}_{index}" for index, node in enumerate(nodes)]

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    get_binding_name = get_tensor_name

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.module.TensorIOMode
        return modes.INPUT if name in self.inputs else modes.OUTPUT

    def binding_is_input(self, index: int) -> bool:
        return self.names[index] in self.inputs

    def get_tensor_dtype(self, name: str) -> Any:
        return self.module.DataType.FLOAT

    def get_binding_dtype(self, index: int) -> Any:
        return self.module.DataType.FLOAT

    def create_execution_context(self) -> Any:
        return self.module.show("IExecutionContext", self)

    def create_engine_inspector(self) -> Any:
        return self.module.show("EngineInspector", self)

    def shape_of(self, name: str, batch: int) -> tuple[int, ...]:
        entries = {entry.name: entry for entry in (*self.session.get_inputs(), *self.session.get_outputs())}
        return tuple(size if isinstance(size, int) else batch for size in entries[name].shape)


class _Context:
    def __init__(self, module: Standin, engine: _Engine) -> None:
        self._module, self._engine = module, engine
        self.engine = module.show_again("ICudaEngine", engine)
        self.profiler: Any = None
        self._batch = -1
        self._addresses: dict[str, int] = {}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._engine.shape_of(name, self._batch)

    def get_binding_shape(self, index: int) -> tuple[int, ...]:
        return self.get_tensor_shape(self._engine.names[index])

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return True

    def set_binding_shape(self, index: int, shape: tuple[int, ...]) -> bool:
        return self.set_input_shape("", shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._module.executed.add("execute_async_v3")
        self._module.gpu.submit(stream_handle, lambda: self._run(dict(self._addresses)))
        return True

    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool:
        self._module.executed.add("execute_async_v2")
        addresses = dict(zip(self._engine.names, bindings, strict=True))
        self._module.gpu.submit(stream_handle, lambda: self._run(addresses))
        return True

    def _run(self, addresses: dict[str, int]) -> None:
        gpu, engine = self._module.gpu, self._engine
        arrays = {name: gpu.array(addresses[name], self.get_tensor_shape(name), "float32") for name in engine.names}
        results = engine.session.run(engine.outputs, {name: arrays[name] for name in engine.inputs})
        for name, result in zip(engine.outputs, results, strict=True):
            arrays[name][...] = result
        gpu.spend(gpu.compute_ns)
        if self.profiler is not None:
            assert self.profiler.initialised
            for node in engine.nodes:
                self.profiler.report_layer_time(node, gpu.compute_ns / 1e6 / len(engine.nodes))


class _Inspector:
    def __init__(self, module: Standin, engine: _Engine) -> None:
        self._module, self._engine = module, engine

    def get_engine_information(self, form: Any) -> str:
        assert form is self._module.LayerInformationFormat.JSON
        return json.dumps({"Layers": [{"Name": name, "LayerType": "kgen"} for name in self._engine.nodes]})


_BEHAVIOURS = {
    "Builder": _Builder,
    "IBuilderConfig": _Config,
    "INetworkDefinition": _Network,
    "ILayer": _Layer,
    "ITensor": _Tensor,
    "IOptimizationProfile": _Profile,
    "OnnxParser": _Parser,
    "ParserError": _ParserError,
    "ITimingCache": _TimingCache,
    "Runtime": _Runtime,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "EngineInspector": _Inspector,
}
_CUDA = {"pycuda": pycuda_modules, "cuda-python": cuda_python_modules}


def install(patch: pytest.MonkeyPatch, generation: str, cuda: str = "pycuda", **gpu_options: Any) -> Standin:
    """Make ``generation`` what this process imports as its TensorRT, with one of the libraries for CUDA.

    Args:
        patch: undoes it.
        generation: a key of VERSIONS.
        cuda: ``pycuda``, ``cuda-python`` or empty for neither.
        gpu_options: of that library's stand-in.
    """
    gpu = Gpu()
    module = Standin(generation, gpu)
    names = ["tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "pycuda", "pycuda.driver", "cuda", "cuda.cudart"]
    modules: dict[str, ModuleType | None] = dict.fromkeys([*names, "cuda.bindings", "cuda.bindings.runtime"])
    modules[module.runtime.replace("-", "_")] = module
    modules.update(_CUDA[cuda](gpu, **gpu_options) if cuda else {})
    for name, value in modules.items():
        patch.setitem(sys.modules, name, value)
    return module
