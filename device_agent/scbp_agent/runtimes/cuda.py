"""CUDA as far as a runtime needs it: buffers, one stream for each model, events, and graphs where there are any.

Two libraries can do it: pycuda, which JetPack 4 and 5 users have, and NVIDIA's cuda-python.
"""

import ctypes
import functools
import importlib
import sys
from typing import Any, Callable, List, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import advice, libraries

# numpy's arrays; the agent's core must import without numpy.
Array = Any

_NS_PER_MS = 1e6
# The exec channel of SSH reads no .bashrc, so nvcc and cuda.h are not found there.
_PYCUDA_ON_JETPACK = (
    "export PATH=/usr/local/cuda/bin:$PATH CPATH=/usr/local/cuda/include LIBRARY_PATH=/usr/local/cuda/lib64 && %s"
)


class Device(object):
    """The board's GPU through one of the libraries, open for as long as the process lives.

    Attributes:
        library: the library's name and version.
        name: the GPU's.
        can_capture: whether runs can be captured as a CUDA graph.
    """

    library = ""
    name = ""
    can_capture = False

    def stream(self) -> "Stream":
        """Return a new stream."""
        raise NotImplementedError

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> Array:
        """Return an array in page-locked host memory, from which copies do not wait for the CPU."""
        raise NotImplementedError

    def allocate(self, size_bytes: int) -> Any:
        """Return device memory; ``int()`` of it is its address, and it is freed with the object."""
        raise NotImplementedError


class Stream(object):
    """A queue of work on the device, with events to time it.

    Attributes:
        handle: what TensorRT takes.
    """

    handle = 0

    def copy_in(self, target: Any, source: Array) -> None:
        """Enqueue a copy of a pinned array to device memory."""
        raise NotImplementedError

    def copy_out(self, target: Array, source: Any) -> None:
        """Enqueue a copy of device memory to a pinned array."""
        raise NotImplementedError

    def event(self) -> Any:
        """Return a new event."""
        raise NotImplementedError

    def mark(self, event: Any) -> None:
        """Enqueue an event, which notes the device's time when the work before it is done."""
        raise NotImplementedError

    def elapsed_ns(self, first: Any, second: Any) -> int:
        """Return the device's time between two events that have happened; their resolution is about 0.5 us."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until all of it is done."""
        raise NotImplementedError

    def capture(self, enqueue: Callable[[], Any]) -> Callable[[], None]:
        """Return what repeats the work that ``enqueue`` puts into this stream, with a single call."""
        raise NotImplementedError


def open_device() -> Device:
    """Return the GPU; raises CAPABILITY_MISSING where no library for it is installed, or no driver answers."""
    for module, device in _LIBRARIES:
        try:
            return _opened(importlib.import_module(module), device)
        except ImportError:
            continue
    raise wire.AgentFailure(wire.CAPABILITY_MISSING, "neither pycuda nor cuda-python can be imported", _hint())


@functools.lru_cache(maxsize=None)
def _opened(library: Any, device: Callable[[Any], Device]) -> Device:
    # Models that are timed side by side must share one CUDA context: changing between two takes time.
    return device(library)


def _hint() -> str:
    if sys.version_info < (3, 7):
        return _PYCUDA_ON_JETPACK % advice.pip_hint("pycuda==2022.1")
    return (
        _PYCUDA_ON_JETPACK % advice.pip_hint("pycuda")
        + "; or, with CUDA 12 and later: "
        + advice.pip_hint("cuda-python")
    )


class _PyCuda(Device):
    """pycuda 2019 and later. It has no graphs."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.library = "pycuda " + ".".join(str(part) for part in importlib.import_module("pycuda").VERSION)
        try:
            driver.init()
            device = driver.Device(0)
            # The primary context is the one that TensorRT itself uses; pycuda can share it from 2021 on.
            if hasattr(device, "retain_primary_context"):
                self._context = device.retain_primary_context()
                self._context.push()
            else:
                self._context = device.make_context()
        except driver.Error as error:
            raise _no_device(error)
        self.name = "%s, SM %d.%d" % ((device.name(),) + tuple(device.compute_capability()))

    def stream(self) -> Stream:
        return _PyCudaStream(self._driver)

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> Array:
        return self._sized(lambda: self._driver.pagelocked_empty(shape, dtype))

    def allocate(self, size_bytes: int) -> Any:
        return self._sized(lambda: self._driver.mem_alloc(size_bytes))

    def _sized(self, allocate: Callable[[], Any]) -> Any:
        try:
            return allocate()
        except self._driver.MemoryError as error:
            raise _exhausted(error)


class _PyCudaStream(Stream):
    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._stream = driver.Stream()
        self.handle = int(self._stream.handle)

    def copy_in(self, target: Any, source: Array) -> None:
        self._driver.memcpy_htod_async(target, source, self._stream)

    def copy_out(self, target: Array, source: Any) -> None:
        self._driver.memcpy_dtoh_async(target, source, self._stream)

    def event(self) -> Any:
        return self._driver.Event()

    def mark(self, event: Any) -> None:
        event.record(self._stream)

    def elapsed_ns(self, first: Any, second: Any) -> int:
        elapsed_ms: float = first.time_till(second)
        return round(elapsed_ms * _NS_PER_MS)

    def synchronize(self) -> None:
        self._stream.synchronize()


class _CudaPython(Device):
    """cuda-python's runtime API: each call returns an error code and its results."""

    can_capture = True

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.library = "cuda-python " + str(_version_of(runtime))
        try:
            properties = _result(runtime, runtime.cudaGetDeviceProperties(0))
        except wire.AgentFailure as failure:
            raise _no_device(failure)
        name = properties.name.decode() if isinstance(properties.name, bytes) else properties.name
        self.name = "%s, SM %d.%d" % (name.strip("\0"), properties.major, properties.minor)

    def stream(self) -> Stream:
        return _CudaPythonStream(self._runtime)

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> Array:
        numpy = libraries.require_numpy()
        items = 1
        for size in shape:
            items *= size
        memory = _Memory(self._runtime, self._runtime.cudaMallocHost, self._runtime.cudaFreeHost, items, dtype)
        # The array keeps what it lies in, so the memory lives as long as the array.
        return numpy.frombuffer(memory.buffer, dtype=dtype, count=items).reshape(shape)

    def allocate(self, size_bytes: int) -> Any:
        return _Memory(self._runtime, self._runtime.cudaMalloc, self._runtime.cudaFree, size_bytes, "uint8")


class _Memory(object):
    """Memory of CUDA's that is freed with this object."""

    def __init__(
        self, runtime: Any, allocate: Callable[[int], Any], free: Callable[[int], Any], items: int, dtype: str
    ):
        size_bytes = max(1, items * libraries.require_numpy().dtype(dtype).itemsize)
        self._free = free
        self._address = int(_result(runtime, allocate(size_bytes)))
        self._size_bytes = size_bytes

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        if hasattr(self, "_address"):
            self._free(self._address)

    @property
    def buffer(self) -> Any:
        """Host memory as something that numpy reads; it holds on to this object."""
        buffer = (ctypes.c_uint8 * self._size_bytes).from_address(self._address)
        buffer.owner = self
        return buffer


class _CudaPythonStream(Stream):
    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._stream = self._call("cudaStreamCreate")
        self.handle = int(self._stream)
        self._to_destroy: List[Tuple[str, Any]] = [("cudaStreamDestroy", self._stream)]

    def __del__(self) -> None:
        for name, thing in reversed(getattr(self, "_to_destroy", [])):
            getattr(self._runtime, name)(thing)

    def copy_in(self, target: Any, source: Array) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", int(target), source.ctypes.data, source.nbytes, kind, self._stream)

    def copy_out(self, target: Array, source: Any) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, int(source), target.nbytes, kind, self._stream)

    def event(self) -> Any:
        event = self._call("cudaEventCreate")
        self._to_destroy.append(("cudaEventDestroy", event))
        return event

    def mark(self, event: Any) -> None:
        self._call("cudaEventRecord", event, self._stream)

    def elapsed_ns(self, first: Any, second: Any) -> int:
        elapsed_ms: float = self._call("cudaEventElapsedTime", first, second)
        return round(elapsed_ms * _NS_PER_MS)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def capture(self, enqueue: Callable[[], Any]) -> Callable[[], None]:
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        finally:
            # Also after a failure: else the stream would take nothing more.
            graph = self._call("cudaStreamEndCapture", self._stream)
        # cudaGraphInstantiate itself takes other arguments in CUDA 11 than in 12.
        executable = self._call("cudaGraphInstantiateWithFlags", graph, 0)
        self._to_destroy += [("cudaGraphDestroy", graph), ("cudaGraphExecDestroy", executable)]
        return lambda: self._call("cudaGraphLaunch", executable, self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        return _result(self._runtime, getattr(self._runtime, name)(*arguments))


def _result(runtime: Any, returned: Tuple[Any, ...]) -> Any:
    """Return the results beside the error code; raises a typed failure where that is not success."""
    code, results = returned[0], returned[1:]
    if int(code) == 0:
        return results[0] if len(results) == 1 else results
    text = runtime.cudaGetErrorString(code)[1]
    message = "CUDA: %s" % (text.decode() if isinstance(text, bytes) else text)
    if code == runtime.cudaError_t.cudaErrorMemoryAllocation:
        raise _exhausted(message)
    raise wire.AgentFailure(wire.WORKER_CRASHED, message)


def _version_of(runtime: Any) -> Optional[str]:
    package = importlib.import_module("cuda.bindings" if ".bindings" in runtime.__name__ else "cuda")
    return getattr(package, "__version__", None)


def _no_device(error: object) -> wire.AgentFailure:
    message = "CUDA finds no usable GPU: %s" % error
    return wire.AgentFailure(wire.CAPABILITY_MISSING, message, "this needs an NVIDIA GPU with its driver")


def _exhausted(error: object) -> wire.AgentFailure:
    return wire.AgentFailure(wire.OUT_OF_MEMORY, "the GPU's memory is exhausted: %s" % error)


# Whichever is there first; pycuda before, since it is what JetPack's own examples use.
_LIBRARIES: Tuple[Tuple[str, Callable[[Any], Device]], ...] = (
    ("pycuda.driver", _PyCuda),
    ("cuda.bindings.runtime", _CudaPython),
    ("cuda.cudart", _CudaPython),
)
