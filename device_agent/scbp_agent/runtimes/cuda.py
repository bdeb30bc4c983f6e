"""CUDA as far as a runtime needs it: buffers, one stream for each model, events, and graphs where there are any.

Two libraries can do it: pycuda, which JetPack 4 and 5 users have, and NVIDIA's cuda-python. Each has a module here,
whose ``open_device(library)`` returns the GPU.
"""

import functools
import importlib
import sys
from typing import Any, Callable, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import advice

# numpy's arrays; the agent's core must import without numpy.
Array = Any

NS_PER_MS = 1e6

# Library -> module. Whichever is there first; pycuda before, since it is what JetPack's own examples use.
_LIBRARIES = (
    ("pycuda.driver", "scbp_agent.runtimes.cuda_pycuda"),
    ("cuda.bindings.runtime", "scbp_agent.runtimes.cuda_python"),
    ("cuda.cudart", "scbp_agent.runtimes.cuda_python"),
)
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
    for name, module in _LIBRARIES:
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        return _opened(library, module)
    raise wire.AgentFailure(wire.CAPABILITY_MISSING, "neither pycuda nor cuda-python can be imported", _hint())


@functools.lru_cache(maxsize=None)
def _opened(library: Any, module: str) -> Device:
    # Models that are timed side by side must share one CUDA context: changing between two takes time.
    device: Device = importlib.import_module(module).open_device(library)
    return device


def no_device(error: object) -> wire.AgentFailure:
    """Return the failure of a machine without a usable GPU."""
    message = "CUDA finds no usable GPU: %s" % error
    return wire.AgentFailure(wire.CAPABILITY_MISSING, message, "this needs an NVIDIA GPU with its driver")


def exhausted(error: object) -> wire.AgentFailure:
    """Return the failure of a GPU whose memory is full."""
    return wire.AgentFailure(wire.OUT_OF_MEMORY, "the GPU's memory is exhausted: %s" % error)


def _hint() -> str:
    if sys.version_info < (3, 7):
        return _PYCUDA_ON_JETPACK % advice.pip_hint("pycuda==2022.1")
    return (
        _PYCUDA_ON_JETPACK % advice.pip_hint("pycuda")
        + "; or, with CUDA 12 and later: "
        + advice.pip_hint("cuda-python")
    )
