# What stands for JetPack 4's tensorrt 8.2 and pycuda under its Python 3.6, without onnx: any model becomes an engine
# that doubles its input. The names are those of 8.2 in tests/data/tensorrt_api.toml.
import ctypes
import enum
import sys
import types

SHAPE = (1, 3, 8, 8)
MEMORY = {}


class Numbered(enum.Enum):
    def __int__(self):
        return self.value


class Base:
    WARNING = 2

    def __init__(self, *arguments):
        pass


class Cache(Base):
    def serialize(self):
        return b"timed"


class Config(Base):
    max_workspace_size = 0
    profiling_verbosity = None

    def set_flag(self, flag):
        assert flag is BuilderFlag.FP16

    def create_timing_cache(self, content):
        return Cache()

    def set_timing_cache(self, cache, ignore_mismatch):
        return True

    def get_timing_cache(self):
        return Cache()


class Tensor(Base):
    name, shape = "x", SHAPE


class Network(Base):
    num_layers = 0

    def get_input(self, index):
        return Tensor()


class Parser(Base):
    num_errors = 0

    def parse(self, content):
        return True


class Builder(Base):
    platform_has_fast_fp16 = True

    def create_network(self, flags):
        assert flags == 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
        return Network()

    def create_builder_config(self):
        return Config()

    def build_serialized_network(self, network, config):
        assert config.max_workspace_size > 0
        return b"an engine"


class Inspector(Base):
    def get_engine_information(self, form):
        return '{"Layers": ["/conv/Conv"]}'


class Engine(Base):
    num_bindings = 2
    device_memory_size = 4096

    def get_binding_name(self, index):
        return ("x", "y")[index]

    def binding_is_input(self, index):
        return index == 0

    def get_binding_dtype(self, index):
        return DataType.FLOAT

    def create_execution_context(self):
        return Context()

    def create_engine_inspector(self):
        return Inspector()


class Context(Base):
    profiler = None

    def get_binding_shape(self, index):
        return SHAPE

    def execute_async_v2(self, bindings, stream_handle):
        source, target = (ctypes.cast(address, ctypes.POINTER(ctypes.c_float)) for address in bindings)
        for index in range(3 * 8 * 8):
            target[index] = 2 * source[index]
        if self.profiler is not None:
            self.profiler.report_layer_time("/conv/Conv", 0.5)
        return True


class Runtime(Base):
    def deserialize_cuda_engine(self, content):
        assert content == b"an engine"
        return Engine()


class Allocation:
    def __init__(self, size_bytes):
        self._memory = (ctypes.c_uint8 * size_bytes)()

    def __int__(self):
        return ctypes.addressof(self._memory)


class Device(Base):
    def name(self):
        return "NVIDIA Tegra X1"

    def compute_capability(self):
        return (5, 3)

    def make_context(self):
        return self


class Stream(Base):
    handle = 7

    def synchronize(self):
        pass


class Event(Base):
    def record(self, stream):
        pass

    def time_till(self, event):
        return 0.25


def pagelocked_empty(shape, dtype):
    import numpy

    return numpy.empty(shape, dtype)


def memcpy_htod_async(target, source, stream):
    ctypes.memmove(int(target), source.ctypes.data, source.nbytes)


def memcpy_dtoh_async(target, source, stream):
    ctypes.memmove(target.ctypes.data, int(source), target.nbytes)


NetworkDefinitionCreationFlag = Numbered("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0})
BuilderFlag = Numbered("BuilderFlag", {"FP16": 0, "INT8": 1, "TF32": 7})
DataType = Numbered("DataType", {"FLOAT": 0})
ProfilingVerbosity = Numbered("ProfilingVerbosity", {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2})
LayerInformationFormat = Numbered("LayerInformationFormat", {"ONELINE": 0, "JSON": 1})


def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


module(
    "tensorrt",
    __version__="8.2.1.8",
    ILogger=Base,
    IProfiler=Base,
    ICudaEngine=Engine,
    OnnxParser=Parser,
    Builder=Builder,
    Runtime=Runtime,
    BuilderFlag=BuilderFlag,
    NetworkDefinitionCreationFlag=NetworkDefinitionCreationFlag,
    ProfilingVerbosity=ProfilingVerbosity,
    LayerInformationFormat=LayerInformationFormat,
    init_libnvinfer_plugins=lambda logger, namespace: True,
)
module("pycuda", VERSION=(2022, 1))
module(
    "pycuda.driver",
    Error=Exception,
    MemoryError=MemoryError,
    init=lambda: None,
    Device=Device,
    Stream=Stream,
    Event=Event,
    mem_alloc=Allocation,
    pagelocked_empty=pagelocked_empty,
    memcpy_htod_async=memcpy_htod_async,
    memcpy_dtoh_async=memcpy_dtoh_async,
)
