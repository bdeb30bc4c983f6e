"""ONNX to ncnn with pnnx, ncnn's own converter: a program that comes as a package for Python.

ncnn computes without a batch axis, and its param file need not say how large an input is. The agent needs to know, so
the sizes are written onto the Input layer's line, which is ncnn's own place for them.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import onnx

from scbp_host.domain.device_model import DeviceModel, ToDeviceModel
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import UsageError

# A ResNet-18 takes a second; a VGG with half a gigabyte of weights, on a busy machine, minutes.
DEADLINE_S = 600.0

_INSTALL = "python -m pip install pnnx"
_OTHER_RUNTIME = 'measure this model with another runtime: runtime = "onnxruntime" in the device\'s profile'
_UNWANTED = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")
# What pnnx says of an operator that it hands on as it is, and how it names what it knows and ncnn does not.
_LEFT_OVER = re.compile(r"^todo (\S+)", re.MULTILINE)
_NOT_NCNN = re.compile(r"[.:]")
_UNREGISTERED = re.compile(r"(\S+?)\(-?\d+\) is not a registered function/op")
# How ncnn's Input layer names its sizes (docs/developer-guide/operators.md of Tencent/ncnn), by the image's rank.
_SIZE_KEYS = {1: ("0",), 2: ("1", "0"), 3: ("2", "1", "0"), 4: ("2", "11", "1", "0")}


def ncnn_converter() -> ToDeviceModel:
    """Return :func:`to_ncnn` with this machine's pnnx.

    Raises:
        UsageError: pnnx is not installed; the hint is the command that installs it.
    """
    # Its Python package would import torch, and is not needed: the program lies inside it.
    found = importlib.util.find_spec("pnnx")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (program := Path(folder) / "pnnx").is_file():
            return partial(to_ncnn, program)
    raise UsageError("runtime 'ncnn' needs pnnx on this machine, which converts models: not installed", _INSTALL)


def to_ncnn(program: Path, content: bytes) -> DeviceModel | Failure:
    """Convert a model.

    Args:
        program: pnnx.
        content: a self-contained ONNX file with one float32 input of batch 1 and fixed sizes.

    Returns:
        the files ``param`` and ``bin``, weights in float32; or a Failure of kind EXPORT_FAILED that names the operator
        which ncnn does not have.
    """
    shape = _image_shape(content)
    if isinstance(shape, Failure):
        return shape
    with tempfile.TemporaryDirectory(prefix="scbp-pnnx-") as folder:
        (Path(folder) / "model.onnx").write_bytes(content)
        return _convert(program, Path(folder), shape)


def _convert(program: Path, folder: Path, shape: tuple[int, ...]) -> DeviceModel | Failure:
    outputs = {"ncnnparam": "model.param", "ncnnbin": "model.bin", **dict.fromkeys(_UNWANTED, "/dev/null")}
    sizes = ",".join(str(size) for size in (1, *shape))
    options = {"inputshape": f"[{sizes}]f32", "fp16": "0", **outputs}
    command = [str(program), "model.onnx", *(f"{key}={value}" for key, value in options.items())]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _failed(f"pnnx did not finish within {DEADLINE_S:g} s")
    if done.returncode != 0 or not (folder / "model.param").exists():
        return _failed(_last_words(done.returncode, done.stdout))
    param = (folder / "model.param").read_text(encoding="ascii")
    if left_over := _left_over(done.stdout, param):
        return _failed(f"ncnn has no operator {', '.join(left_over)}")
    return DeviceModel("ncnn", {"param": _with_sizes(param, shape), "bin": (folder / "model.bin").read_bytes()})


def _image_shape(content: bytes) -> tuple[int, ...] | Failure:
    """Return the input's shape without the batch axis; a Failure where ncnn could not be given such an input."""
    graph = onnx.load_model_from_string(content).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return _failed(f"the model has {len(inputs)} inputs; ncnn models need one, of float32")
    sizes = tuple(size.dim_value for size in inputs[0].type.tensor_type.shape.dim)
    if len(sizes) - 1 not in _SIZE_KEYS or sizes[0] not in (0, 1) or 0 in sizes[1:]:
        return _failed(
            f"the model's input is {list(sizes)}; ncnn models need batch 1 and fixed sizes (0 is an open one)"
        )
    return sizes[1:]


def _left_over(said: str, param: str) -> list[str]:
    """Return the operators that pnnx could not turn into ncnn's."""
    layers = [line.split()[0] for line in param.splitlines()[2:] if line.strip()]
    # Constants that nothing but such an operator takes are left over with it; they would only blur the message.
    strange = {name for name in layers if _NOT_NCNN.search(name)}
    named = set(_LEFT_OVER.findall(said))
    return sorted(named or strange)


def _with_sizes(param: str, shape: tuple[int, ...]) -> bytes:
    lines = param.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.split()[:1] == ["Input"]]
    sizes = sorted(zip(_SIZE_KEYS[len(shape)], shape, strict=True), key=lambda entry: int(entry[0]))
    lines[at] = " ".join([lines[at], *(f"{key}={size}" for key, size in sizes)])
    return ("\n".join(lines) + "\n").encode("ascii")


def _last_words(returncode: int, said: str) -> str:
    if unregistered := _UNREGISTERED.search(said):
        return f"ncnn has no operator {unregistered[1]}"
    end = signal.Signals(-returncode).name if returncode < 0 else f"exit status {returncode}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"pnnx ended with {end}" + (f": {lines[-1][:200]}" if lines else "")


def _failed(why: str) -> Failure:
    return Failure(FailureKind.EXPORT_FAILED, f"cannot be converted for ncnn: {why}", _OTHER_RUNTIME)
