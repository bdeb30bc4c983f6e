"""ONNX models on NVIDIA GPUs with TensorRT, 8.0 (JetPack 4.6) to 11; ``tensorrt_rtx`` is the same for TensorRT-RTX.

``prepare`` builds an engine, on this board and for this board, and keeps it; what is loaded and timed is the engine.
"""

from typing import Any, Dict, List, Optional

from scbp_agent import conditions, engines, identity, wire
from scbp_agent.probing import Source
from scbp_agent.runtimes import base, cuda, tensorrt_api, tensorrt_build
from scbp_agent.runtimes.settings import Setting, choice, count, flag
from scbp_agent.runtimes.tensorrt_model import EngineModel, ProfiledEngineModel

_NAME = "tensorrt"
LIBRARIES = tensorrt_api.FAMILIES[_NAME].modules
ENGINE = "tensorrt-engine"

SETTINGS: Dict[str, Setting] = {
    "precision": choice("fp32", "fp16", "int8", "int8+fp16"),
    "tf32": flag(True),
    "workspace_bytes": count(None, least=1),
    "optimization_level": Setting(None, lambda value: type(value) is int and 0 <= value <= 5, "an integer from 0 to 5"),
    "timing_cache": flag(True),
    "build": count(0),
    "compute_capability": Setting("current", lambda value: isinstance(value, str), "a word such as SM86"),
    "cuda_graph": choice("auto", "always", "never"),
    "engine_cache_bytes": count(engines.DEFAULT_LIMIT_BYTES, least=1),
}
# What does not change the engine.
_NOT_BUILT_IN = ("cuda_graph", "engine_cache_bytes")


def version(name: str = _NAME) -> str:
    """Import TensorRT and return its version; raises CAPABILITY_MISSING."""
    return tensorrt_api.find(name).version


def max_opset(name: str = _NAME) -> Optional[int]:
    """Return the newest ONNX opset of this TensorRT's parser; None where that is not known."""
    return tensorrt_api.find(name).max_opset


def capabilities(name: str = _NAME) -> Dict[str, Any]:
    """Return the GPU, what reaches it, and where types come from; raises CAPABILITY_MISSING without CUDA."""
    device, api = cuda.open_device(), tensorrt_api.find(name)
    return {
        "gpu": device.name,
        "cuda": device.library,
        "cuda_graphs": device.can_capture,
        "precision_by": "flags" if api.typed_by_flags else "model",
    }


def prepare(
    format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, cache_folder: str, killed: int
) -> base.Prepared:
    """Return the engine for this model, board and settings, built now or before.

    Raises:
        AgentFailure: as :func:`scbp_agent.runtimes.tensorrt_build.build`, and DISK_FULL.
    """
    if format_name != "onnx":
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, "tensorrt builds from onnx, not %r" % format_name)
    if set(paths) != {"model"}:
        raise wire.AgentFailure(wire.BAD_REQUEST, "onnx needs one blob, 'model'; got %s" % sorted(paths))
    api, settings = tensorrt_api.find(options.runtime), base.resolve_settings(options)
    cache = engines.EngineCache(cache_folder, settings["engine_cache_bytes"])
    board = _board(settings["compute_capability"])
    runtime = "%s %s" % (options.runtime, api.version)
    facts = _facts(runtime, paths["model"], board, settings)
    found = cache.find(facts)
    engine = found or _build(api, paths["model"], settings, cache, facts, killed)
    return base.Prepared(ENGINE, {"engine": engine.path}, engine.build_ns, found is not None, engine.notes)


def open_model(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions) -> base.Model:
    """Return the engine in role ``engine``; raises CAPABILITY_MISSING for another format."""
    settings = base.resolve_settings(options)
    return EngineModel(tensorrt_api.find(options.runtime), _engine_path(format_name, paths), settings["cuda_graph"])


def open_profiled(
    format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, folder: str
) -> base.ProfiledModel:
    """Return the engine in role ``engine``, whose layers are timed; nothing is written to ``folder``."""
    return ProfiledEngineModel(tensorrt_api.find(options.runtime), _engine_path(format_name, paths))


def _engine_path(format_name: str, paths: Dict[str, str]) -> str:
    if format_name != ENGINE:
        message = "tensorrt runs what it has built itself, not %r" % format_name
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message)
    return paths["engine"]


def _board(compute_capability: str) -> List[Optional[str]]:
    """Return what an engine fits to: tactics are chosen by timing them, under this power mode's clocks."""
    source = Source()
    gpu = cuda.open_device().name if compute_capability == "current" else compute_capability
    return [identity.board(source), gpu, identity.l4t(source), conditions.power_mode(source)]


def _facts(runtime: str, path: str, board: List[Optional[str]], settings: Dict[str, Any]) -> Dict[str, Any]:
    built_in = {name: value for name, value in settings.items() if name not in _NOT_BUILT_IN}
    model = {"format": "onnx", "sha256": engines.file_sha256(path)}
    return {"model": model, "runtime": runtime, "board": board, "settings": built_in}


def _build(
    api: tensorrt_api.Api,
    path: str,
    settings: Dict[str, Any],
    cache: engines.EngineCache,
    facts: Dict[str, Any],
    killed: int,
) -> engines.Engine:
    with open(path, "rb") as source:
        onnx = source.read()
    cache.require_room(2 * len(onnx))
    # All models of a board share what was timed, but a build that is to show how builds vary must time for itself.
    shared = settings["build"] == 0
    timing_name = "%s %s" % (facts["runtime"], facts["board"])
    built = tensorrt_build.build(api, onnx, settings, cache.timing(timing_name) if shared else b"", killed)
    if shared and built.timing is not None:
        cache.keep_timing(timing_name, built.timing)
    return cache.keep(facts, built.content, built.build_ns, built.notes)
