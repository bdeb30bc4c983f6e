"""A GPU that is not there, and the two libraries by which Python reaches one, as their documentation describes them.

The GPU's memory is this process's, work runs at once where it is not captured, and the device's clock moves only by
what work is said to take: so what a test reads of it is the same every time.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

Work = Callable[[], object]


class Gpu:
    """Memory by address, streams by handle, and a clock.

    Attributes:
        copy_ns, compute_ns: what a copy and a run of a network take by the device's clock.
        limit_bytes: an allocation beyond this finds no memory.
        launches: how many graphs were launched.
    """

    def __init__(self) -> None:
        self.copy_ns = 2_000
        self.compute_ns = 50_000_000
        self.limit_bytes = 1 << 30
        self.launches = 0
        self.clock_ns = 0
        self.memory: dict[int, Any] = {}
        self._capturing: dict[int, list[Work]] = {}
        self._handles = itertools.count(1)

    def allocate(self, size_bytes: int) -> int | None:
        if size_bytes > self.limit_bytes:
            return None
        buffer = (ctypes.c_uint8 * size_bytes)()
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def free(self, address: int) -> None:
        del self.memory[address]

    def array(self, address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Return device memory as an array; raises KeyError for what was never allocated."""
        count = int(np.prod(shape))
        return np.frombuffer(self.memory[address], dtype, count).reshape(shape)

    def new_stream(self) -> int:
        return next(self._handles)

    def submit(self, stream: int, work: Work) -> None:
        """Do the work, or note it where the stream captures."""
        if stream in self._capturing:
            self._capturing[stream].append(work)
        else:
            work()

    def spend(self, ns: int) -> None:
        self.clock_ns += ns

    def begin_capture(self, stream: int) -> None:
        self._capturing[stream] = []

    def end_capture(self, stream: int) -> list[Work]:
        return self._capturing.pop(stream)

    def launch(self, graph: list[Work]) -> None:
        self.launches += 1
        for work in graph:
            work()

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        ctypes.memmove(target, source, size_bytes)
        self.spend(self.copy_ns)


def pycuda_modules(gpu: Gpu, *, shares_primary_context: bool = True, present: bool = True) -> dict[str, ModuleType]:
    """Return ``pycuda`` and ``pycuda.driver``. [documen.tician.de/pycuda/driver.html]

    Args:
        gpu: what it reaches.
        shares_primary_context: ``Device.retain_primary_context`` came with 2021.1.
        present: whether there is a GPU at all.
    """
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    package.VERSION = (2022, 1)
    package.driver = driver

    class Error(Exception):
        pass

    class OutOfMemory(Error):
        pass

    class Allocation:
        def __init__(self, size_bytes: int) -> None:
            address = gpu.allocate(size_bytes)
            if address is None:
                raise OutOfMemory("cuMemAlloc failed: out of memory")
            self._address = address

        def __int__(self) -> int:
            return self._address

        def __del__(self) -> None:
            if hasattr(self, "_address"):
                gpu.free(self._address)

    class Context:
        def push(self) -> None:
            contexts.append(self)

    class Device:
        def __init__(self, number: int) -> None:
            assert number == 0

        def name(self) -> str:
            return "NVIDIA Tegra X1"

        def compute_capability(self) -> tuple[int, int]:
            return (5, 3)

        def make_context(self) -> Context:
            context = Context()
            context.push()
            return context

    class Stream:
        def __init__(self) -> None:
            assert contexts, "no context is current"
            self.handle = gpu.new_stream()

        def synchronize(self) -> None:
            pass

    class Event:
        def record(self, stream: Stream) -> None:
            gpu.submit(stream.handle, self._happen)

        def _happen(self) -> None:
            self.time_ns = gpu.clock_ns

        def time_till(self, event: Event) -> float:
            return (event.time_ns - self.time_ns) / 1e6

    def init() -> None:
        if not present:
            raise Error("cuInit failed: no CUDA-capable device is detected")

    def htod(target: Allocation, source: np.ndarray, stream: Stream) -> None:
        gpu.submit(stream.handle, lambda: gpu.copy(int(target), source.ctypes.data, source.nbytes))

    def dtoh(target: np.ndarray, source: Allocation, stream: Stream) -> None:
        gpu.submit(stream.handle, lambda: gpu.copy(target.ctypes.data, int(source), target.nbytes))

    contexts: list[Context] = []
    if shares_primary_context:
        Device.retain_primary_context = lambda self: Context()
    for name, value in {
        "Error": Error,
        "MemoryError": OutOfMemory,
        "Device": Device,
        "Stream": Stream,
        "Event": Event,
        "init": init,
        "mem_alloc": Allocation,
        "pagelocked_empty": lambda shape, dtype: np.empty(shape, dtype),
        "memcpy_htod_async": htod,
        "memcpy_dtoh_async": dtoh,
    }.items():
        setattr(driver, name, value)
    return {"pycuda": package, "pycuda.driver": driver}


class CudaError(enum.IntEnum):
    """The codes that these calls return."""

    cudaSuccess = 0  # noqa: N815 - the real names
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorInsufficientDriver = 35  # noqa: N815


_TEXTS = {
    CudaError.cudaErrorMemoryAllocation: b"out of memory",
    CudaError.cudaErrorInsufficientDriver: b"CUDA driver version is insufficient for CUDA runtime version",
}


def cuda_python_modules(gpu: Gpu) -> dict[str, ModuleType]:
    """Return ``cuda.bindings.runtime``. A test compares its names with those of the real one."""
    package, runtime = ModuleType("cuda.bindings"), ModuleType("cuda.bindings.runtime")
    package.__version__ = "13.0.0"
    events: dict[int, int] = {}
    graphs: dict[int, list[Work]] = {}
    numbers = itertools.count(1)

    def allocate(size_bytes: int) -> tuple[Any, ...]:
        address = gpu.allocate(size_bytes)
        return (CudaError.cudaErrorMemoryAllocation, None) if address is None else (CudaError.cudaSuccess, address)

    def free(address: int) -> tuple[Any, ...]:
        gpu.free(address)
        return (CudaError.cudaSuccess,)

    def new(table: dict[int, Any], value: Any) -> tuple[Any, ...]:
        number = next(numbers)
        table[number] = value
        return (CudaError.cudaSuccess, number)

    def done(table: dict[int, Any], number: int) -> tuple[Any, ...]:
        del table[number]
        return (CudaError.cudaSuccess,)

    def submit(stream: int, work: Work) -> tuple[Any, ...]:
        gpu.submit(stream, work)
        return (CudaError.cudaSuccess,)

    def record(event: int, stream: int) -> tuple[Any, ...]:
        return submit(stream, lambda: events.__setitem__(event, gpu.clock_ns))

    def copy(target: int, source: int, size_bytes: int, kind: int, stream: int) -> tuple[Any, ...]:
        return submit(stream, lambda: gpu.copy(target, source, size_bytes))

    def begin(stream: int, mode: int) -> tuple[Any, ...]:
        gpu.begin_capture(stream)
        return (CudaError.cudaSuccess,)

    properties = SimpleNamespace(name=b"Orin\0\0", major=8, minor=7)
    for name, value in {
        "cudaError_t": CudaError,
        "cudaMemcpyKind": SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
        "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
        "cudaGetErrorString": lambda code: (CudaError.cudaSuccess, _TEXTS[code]),
        "cudaGetDeviceProperties": lambda number: (CudaError.cudaSuccess, properties),
        "cudaMalloc": allocate,
        "cudaMallocHost": allocate,
        "cudaFree": free,
        "cudaFreeHost": free,
        "cudaStreamCreate": lambda: (CudaError.cudaSuccess, gpu.new_stream()),
        "cudaStreamDestroy": lambda stream: (CudaError.cudaSuccess,),
        "cudaStreamSynchronize": lambda stream: (CudaError.cudaSuccess,),
        "cudaEventCreate": lambda: new(events, 0),
        "cudaEventDestroy": lambda event: done(events, event),
        "cudaEventRecord": record,
        "cudaEventElapsedTime": lambda one, two: (CudaError.cudaSuccess, (events[two] - events[one]) / 1e6),
        "cudaMemcpyAsync": copy,
        "cudaStreamBeginCapture": begin,
        "cudaStreamEndCapture": lambda stream: new(graphs, gpu.end_capture(stream)),
        "cudaGraphInstantiateWithFlags": lambda graph, flags: new(graphs, graphs[graph]),
        "cudaGraphLaunch": lambda graph, stream: submit(stream, lambda: gpu.launch(graphs[graph])),
        "cudaGraphDestroy": lambda graph: done(graphs, graph),
        "cudaGraphExecDestroy": lambda graph: done(graphs, graph),
    }.items():
        setattr(runtime, name, value)
    cuda = ModuleType("cuda")
    cuda.bindings, package.runtime = package, runtime
    return {"cuda": cuda, "cuda.bindings": package, "cuda.bindings.runtime": runtime}
