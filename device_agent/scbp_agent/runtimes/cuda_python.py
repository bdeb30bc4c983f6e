"""CUDA through the runtime API of NVIDIA's cuda-python: each call returns an error code and its results."""

import ctypes
import importlib
from typing import Any, Callable, List, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import cuda, libraries

Array = cuda.Array


def open_device(library: Any) -> cuda.Device:
    """Return the GPU through the module of the runtime API; raises CAPABILITY_MISSING where no driver answers."""
    return _Device(library)


class _Device(cuda.Device):
    can_capture = True

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.library = "cuda-python " + str(_version_of(runtime))
        try:
            properties = _result(runtime, runtime.cudaGetDeviceProperties(0))
        except wire.AgentFailure as failure:
            raise cuda.no_device(failure)
        name = properties.name.decode() if isinstance(properties.name, bytes) else properties.name
        self.name = "%s, SM %d.%d" % (name.strip("\0"), properties.major, properties.minor)

    def stream(self) -> cuda.Stream:
        return _Stream(self._runtime)

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


class _Stream(cuda.Stream):
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
        return round(elapsed_ms * cuda.NS_PER_MS)

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
        raise cuda.exhausted(message)
    raise wire.AgentFailure(wire.WORKER_CRASHED, message)


def _version_of(runtime: Any) -> Optional[str]:
    package = importlib.import_module("cuda.bindings" if ".bindings" in runtime.__name__ else "cuda")
    return getattr(package, "__version__", None)
