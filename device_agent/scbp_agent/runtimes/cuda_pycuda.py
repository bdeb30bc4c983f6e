"""CUDA through pycuda 2019 and later. It has no graphs."""

import importlib
from typing import Any, Callable, Tuple

from scbp_agent.runtimes import cuda

Array = cuda.Array


def open_device(library: Any) -> cuda.Device:
    """Return the GPU through the module ``pycuda.driver``; raises CAPABILITY_MISSING where no driver answers."""
    return _Device(library)


class _Device(cuda.Device):
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
            raise cuda.no_device(error)
        self.name = "%s, SM %d.%d" % ((device.name(),) + tuple(device.compute_capability()))

    def stream(self) -> cuda.Stream:
        return _Stream(self._driver)

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> Array:
        return self._sized(lambda: self._driver.pagelocked_empty(shape, dtype))

    def allocate(self, size_bytes: int) -> Any:
        return self._sized(lambda: self._driver.mem_alloc(size_bytes))

    def _sized(self, allocate: Callable[[], Any]) -> Any:
        try:
            return allocate()
        except self._driver.MemoryError as error:
            raise cuda.exhausted(error)


class _Stream(cuda.Stream):
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
        return round(elapsed_ms * cuda.NS_PER_MS)

    def synchronize(self) -> None:
        self._stream.synchronize()
