"""CUDA through pycuda or cuda-python: what is said where neither works, and that the stand-ins resemble them."""

import importlib
import sys

import numpy as np
import pytest
from gpu_standin import Gpu, cuda_python_modules
from tensorrt_standin import install

from scbp_agent import wire
from scbp_agent.runtimes import cuda, tensorrt


def failure_of(call):
    with pytest.raises(wire.AgentFailure) as caught:
        call()
    return caught.value


def test_the_stand_in_of_cuda_python_has_only_names_that_the_real_one_has():
    real = importlib.import_module("cuda.bindings.runtime")  # torch brings it
    stand_in = cuda_python_modules(Gpu())["cuda.bindings.runtime"]
    names = {name for name in vars(stand_in) if name.startswith("cuda")}
    assert len(names) > 15
    assert {name for name in names if not hasattr(real, name)} == set()
    for owner in ("cudaMemcpyKind", "cudaStreamCaptureMode", "cudaError_t"):
        members = {name for name in vars(getattr(stand_in, owner)) if name.startswith("cuda")}
        assert {name for name in members if not hasattr(getattr(real, owner), name)} == set()


def test_neither_library_is_a_missing_capability_with_the_boards_commands(monkeypatch):
    install(monkeypatch, "8.2", cuda="")
    failure = failure_of(cuda.open_device)
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "neither pycuda nor cuda-python" in failure.message
    # The exec channel of SSH reads no .bashrc: without these, pycuda finds neither nvcc nor cuda.h.
    for part in ("PATH=/usr/local/cuda/bin", "CPATH=/usr/local/cuda/include", "pip install pycuda", "cuda-python"):
        assert part in failure.hint


def test_on_jetpack_4_it_is_the_last_pycuda_for_its_python(monkeypatch):
    install(monkeypatch, "8.2", cuda="")
    monkeypatch.setattr(sys, "version_info", (3, 6, 9))
    failure = failure_of(cuda.open_device)
    assert "pycuda==2022.1" in failure.hint
    assert "cuda-python" not in failure.hint


def test_a_machine_without_a_gpu_is_a_missing_capability(monkeypatch):
    install(monkeypatch, "8.2", present=False)
    failure = failure_of(cuda.open_device)
    assert failure.kind == wire.CAPABILITY_MISSING
    assert "no CUDA-capable device" in failure.message


@pytest.mark.parametrize("shares", [True, False])
def test_every_pycuda_has_one_context_for_all_models(monkeypatch, shares):
    install(monkeypatch, "8.2", shares_primary_context=shares)
    assert cuda.open_device() is cuda.open_device()
    assert cuda.open_device().stream().handle != cuda.open_device().stream().handle


def test_what_hello_tells_of_the_runtime(monkeypatch):
    install(monkeypatch, "8.2", cuda="pycuda")
    assert tensorrt.capabilities() == {
        "gpu": "NVIDIA Tegra X1, SM 5.3",
        "cuda": "pycuda 2022.1",
        "cuda_graphs": False,
        "precision_by": "flags",
    }
    install(monkeypatch, "10.13", cuda="cuda-python")
    assert tensorrt.capabilities() == {
        "gpu": "Orin, SM 8.7",
        "cuda": "cuda-python 13.0.0",
        "cuda_graphs": True,
        "precision_by": "model",
    }


def test_pinned_memory_lives_as_long_as_the_array_over_it(monkeypatch):
    gpu = install(monkeypatch, "10.3", cuda="cuda-python").gpu
    array = cuda.open_device().pinned((2, 3), "float32")
    array[...] = 7
    view = array[1:]
    del array
    assert len(gpu.memory) == 1
    np.testing.assert_array_equal(view, np.full((1, 3), 7))
    del view
    assert gpu.memory == {}


def test_an_error_code_is_never_taken_for_a_result(monkeypatch):
    module = install(monkeypatch, "10.3", cuda="cuda-python")
    runtime = sys.modules["cuda.bindings.runtime"]
    codes = runtime.cudaError_t
    stream = cuda.open_device().stream()
    monkeypatch.setattr(runtime, "cudaStreamSynchronize", lambda stream: (codes.cudaErrorInsufficientDriver,))
    failure = failure_of(stream.synchronize)
    assert (failure.kind, failure.message) == (
        wire.WORKER_CRASHED,
        "CUDA: CUDA driver version is insufficient for CUDA runtime version",
    )
    module.gpu.limit_bytes = 10
    assert failure_of(lambda: cuda.open_device().allocate(11)).kind == wire.OUT_OF_MEMORY


def test_a_capture_that_fails_leaves_the_stream_usable(monkeypatch):
    gpu = install(monkeypatch, "10.3", cuda="cuda-python").gpu
    stream = cuda.open_device().stream()
    with pytest.raises(ZeroDivisionError):
        stream.capture(lambda: 1 // 0)
    first, second = stream.event(), stream.event()
    stream.mark(first)
    gpu.spend(7_000)
    stream.mark(second)
    assert stream.elapsed_ns(first, second) == 7_000
