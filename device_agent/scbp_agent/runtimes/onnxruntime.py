"""ONNX models with onnxruntime, 1.10 (the last for Python 3.6) to 1.31 and on.

On the CPU unless the settings name other execution providers, such as the CUDA and TensorRT ones of a GPU's wheel. A
session that a provider cannot serve falls back to the CPU without a word: here that is a failure.
"""

import json
import os
import re
from typing import Any, Dict, List, Optional

from scbp_agent import wire
from scbp_agent.runtimes import advice, base, libraries
from scbp_agent.runtimes.onnxruntime_profile import node_times
from scbp_agent.runtimes.settings import Setting, choice, flag

LIBRARIES = ("onnxruntime",)
_CPU = "CPUExecutionProvider"
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}


def _names_providers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


SETTINGS: Dict[str, Setting] = {
    # In the order they are asked; without the CPU's among them, no node may run there.
    "providers": Setting([_CPU], _names_providers, 'a list of execution providers, such as ["%s"]' % _CPU),
    "graph_optimization": choice(*_LEVELS),
    # A session's threads would spin for work between runs. In a paired measurement those of the model that rests would
    # take cores from the model that is timed.
    "allow_spinning": flag(False),
}

# onnxruntime's names of tensor types -> numpy's.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_LOG_ERRORS_ONLY = 3
# y = Identity(x) of one float32 as an ONNX file of IR 7 that claims opset 9999.
_OPSET_9999 = (
    b'\x08\x07:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x05\n\x00\x10\x8fN"
)


def version() -> str:
    """Import onnxruntime and return its version; raises CAPABILITY_MISSING."""
    return str(_library().__version__)


def max_opset() -> Optional[int]:
    """Return the newest ONNX opset that this onnxruntime takes, which its refusal of a far newer one tells."""
    library = _library()
    plain = _session_options(library, 1, {name: setting.default for name, setting in SETTINGS.items()})
    try:
        library.InferenceSession(_OPSET_9999, plain, providers=[_CPU])
    except Exception as error:  # noqa: BLE001 - as in OnnxModel
        newest = re.search(r"domain ai\.onnx is till opset (\d+)", str(error))
        return int(newest.group(1)) if newest else None
    return None


def capabilities() -> Dict[str, Any]:
    """Return the execution providers that this build of onnxruntime offers."""
    return {"providers": list(_library().get_available_providers())}


def open_model(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions) -> base.Model:
    """Return the ONNX file in role ``model``; raises CAPABILITY_MISSING for another format."""
    _check(format_name, paths)
    return OnnxModel(paths["model"], options.threads, base.resolve_settings(options))


def open_profiled(
    format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, folder: str
) -> base.ProfiledModel:
    """Return the ONNX file in role ``model``, profiled into ``folder``; raises CAPABILITY_MISSING as above."""
    _check(format_name, paths)
    return ProfiledOnnxModel(paths["model"], options.threads, base.resolve_settings(options), folder)


def _check(format_name: str, paths: Dict[str, str]) -> None:
    if format_name != "onnx":
        message = "onnxruntime runs onnx, not %r" % format_name
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message)
    if set(paths) != {"model"}:
        raise wire.AgentFailure(wire.BAD_REQUEST, "onnx needs one blob, 'model'; got %s" % sorted(paths))


class OnnxModel(base.Model):
    """An InferenceSession with exactly the providers asked for."""

    def __init__(self, path: str, threads: int, told: Dict[str, Any]) -> None:
        self._path = path
        self._threads = threads
        self._told = told
        self._session: Any = None
        self._input_name = ""

    def __enter__(self) -> "OnnxModel":
        library = _library()
        _require_offered(library, self._told["providers"])
        try:
            self._session = library.InferenceSession(
                self._path, self._options(library), providers=self._told["providers"]
            )
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - its exception classes are private and differ between versions
            raise _load_failure(str(error), self._path)
        _require_used(self._session, self._told["providers"])
        self._describe_input(self._session.get_inputs())
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._session = None

    def run(self, array: Any) -> List[Any]:
        """Run one input; returns all outputs."""
        try:
            return list(self._session.run(None, {self._input_name: array}))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise _load_failure(str(error), self._path)

    def _options(self, library: Any) -> Any:
        return _session_options(library, self._threads, self._told)

    def _describe_input(self, inputs: List[Any]) -> None:
        if len(inputs) != 1 or inputs[0].type not in _DTYPES:
            got = ", ".join("%s %s" % (entry.name, entry.type) for entry in inputs)
            raise wire.AgentFailure(wire.BAD_MODEL, "the model takes (%s); expected one numeric tensor" % got)
        self._input_name = inputs[0].name
        self.dtype = _DTYPES[inputs[0].type]
        # A free size is a name (or None) to onnxruntime.
        self.input_shape = tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)


class ProfiledOnnxModel(OnnxModel, base.ProfiledModel):
    """An InferenceSession that writes onnxruntime's profile."""

    def __init__(self, path: str, threads: int, told: Dict[str, Any], folder: str) -> None:
        super().__init__(path, threads, told)
        self._folder = folder

    def node_times(self, runs: int) -> List[wire.NodeTime]:
        """End the profile and read it."""
        with open(self._session.end_profiling(), "rb") as profile:
            return node_times(json.loads(profile.read().decode("utf-8")), runs)

    def _options(self, library: Any) -> Any:
        options = super()._options(library)
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(self._folder, "profile")
        return options


def _library() -> Any:
    return libraries.require("onnxruntime", LIBRARIES, lambda: advice.pip_hint("numpy", "onnxruntime"))


def _require_offered(library: Any, wanted: List[str]) -> None:
    offered = library.get_available_providers()
    missing = [name for name in wanted if name not in offered]
    if missing:
        message = "this onnxruntime (%s) has no %s; it has: %s" % (
            library.__version__,
            ", ".join(missing),
            ", ".join(offered),
        )
        hint = "onnxruntime-gpu has those for NVIDIA's GPUs; on a Jetson it is a wheel of NVIDIA's"
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, hint)


def _require_used(session: Any, wanted: List[str]) -> None:
    used = session.get_providers()
    unused = [name for name in wanted if name not in used]
    if unused:
        message = "onnxruntime could not start %s, and would use %s" % (", ".join(unused), ", ".join(used))
        raise wire.AgentFailure(
            wire.CAPABILITY_MISSING, message, "its libraries (CUDA, cuDNN, TensorRT) are missing, or of another version"
        )


def _session_options(library: Any, threads: int, told: Dict[str, Any]) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(library.GraphOptimizationLevel, _LEVELS[told["graph_optimization"]])
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(told["allow_spinning"])))
    if _CPU not in told["providers"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _load_failure(error: str, path: str) -> wire.AgentFailure:
    if "bad_alloc" in error or "Failed to allocate memory" in error or "BFCArena" in error:
        return wire.AgentFailure(wire.OUT_OF_MEMORY, "onnxruntime ran out of memory")
    if "fallback to CPU EP has been explicitly disabled" in error:
        message, hint = "some nodes have no place but the CPU", 'add "%s" to the setting providers to allow it' % _CPU
        return wire.AgentFailure(wire.CAPABILITY_MISSING, message, hint)
    # 1.10 says no more than errno 2, no such file: the model itself is there.
    if "external" in error.lower() or "SystemError : 2" in error:
        hint = "export it with its weights inside the file"
        return wire.AgentFailure(wire.BAD_MODEL, "the model keeps weights in external files; expected one file", hint)
    line = " ".join(error.replace(path, "the model").split())
    return wire.AgentFailure(wire.BAD_MODEL, "onnxruntime refused the model: %s" % line[:500])
