"""What a runtime is to the agent, and the table of those there are.

A new runtime is one module, and one line in RUNTIMES. The module has

- ``LIBRARIES``: the modules it imports, of which one must be there;
- ``SETTINGS``: what its ``options.settings`` may hold (:mod:`scbp_agent.runtimes.settings`);
- ``version()``, ``max_opset()`` and ``open_model(format, paths, options)``;
- ``open_profiled(format, paths, options, folder)`` where it can tell the time of single nodes;
- ``prepare(format, paths, options, cache_folder, killed)`` where a model must be built before it can be loaded;
- ``capabilities()`` where ``hello`` should tell more of it than its version.
"""

import importlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import settings

# Name -> module. Plain strings: listing must not import what may take seconds and hundreds of MB.
RUNTIMES = {
    "onnxruntime": "scbp_agent.runtimes.onnxruntime",
    "tensorrt": "scbp_agent.runtimes.tensorrt",
    "tensorrt-rtx": "scbp_agent.runtimes.tensorrt_rtx",
    "ncnn": "scbp_agent.runtimes.ncnn",
}


Prepared = NamedTuple(
    "Prepared",
    [
        ("format", str),
        ("paths", Dict[str, str]),
        ("build_ns", Optional[int]),
        ("cached", bool),
        ("notes", List[str]),
    ],
)
Prepared.__doc__ = """A model as its runtime loads it: what came over the wire, or what was built from it on this board.

``build_ns`` is what building took, also where it was done before (``cached``); None without such a step. ``notes`` say
in words what happened to it.
"""

# Runtimes that always use the GPU, and the one of onnxruntime's providers that never does.
_ON_GPU = frozenset(["tensorrt", "tensorrt-rtx"])
_CPU_PROVIDER = "CPUExecutionProvider"

DeviceTimes = wire.DeviceTimes


class Model(object):
    """One loaded model. The constructor touches nothing; ``__enter__`` loads, ``__exit__`` lets go.

    Attributes (from ``__enter__`` on):
        input_shape: of the only input; None for a size that the model leaves open.
        dtype: of that input, as numpy names it.
        notes: in words, what is worth knowing of how this model runs; may grow with the runs.
    """

    input_shape: Tuple[Optional[int], ...] = ()
    dtype = ""
    notes: Tuple[str, ...] = ()

    def __enter__(self) -> "Model":
        raise NotImplementedError

    def __exit__(self, *_exception: Any) -> None:
        raise NotImplementedError

    def run(self, array: Any) -> List[Any]:
        """Run one input, a C-order array of ``input_shape`` and ``dtype``; returns all outputs as arrays."""
        raise NotImplementedError

    def device_times_ns(self) -> Optional[DeviceTimes]:
        """Return the times of the runs since the last call, and forget them; None where the device has no clock."""
        return None

    def device_memory_bytes(self) -> Optional[int]:
        """Return what the model holds of the device's memory by the runtime's own count; None where it cannot tell."""
        return None


class ProfiledModel(Model):
    """A model whose runtime notes the time of every node, which makes each run slower."""

    def node_times(self, runs: int) -> List[wire.NodeTime]:
        """End the profile; returns each node's median over the last ``runs`` runs, in the order executed."""
        raise NotImplementedError


def require(name: str) -> str:
    """Return the module of a runtime; raises CAPABILITY_MISSING with the names that there are."""
    if name in RUNTIMES:
        return RUNTIMES[name]
    known = ", ".join(sorted(RUNTIMES))
    raise wire.AgentFailure(wire.CAPABILITY_MISSING, "no runtime %r; known: %s" % (name, known))


def load(name: str) -> Any:
    """Return the runtime's module in this package, which imports the library only when asked to do something."""
    return importlib.import_module(require(name))


def has_build_step(name: str) -> bool:
    """Return whether a model must be built before this runtime can load it."""
    return hasattr(load(name), "prepare")


def runs_on_cpu(options: wire.RuntimeOptions) -> bool:
    """Return whether no GPU is in play: CUDA reserves more address space than any board has memory."""
    providers = options.settings.get("providers") or [_CPU_PROVIDER]
    return options.runtime not in _ON_GPU and list(providers) == [_CPU_PROVIDER]


def resolve_settings(options: wire.RuntimeOptions) -> Dict[str, Any]:
    """Return every setting of the runtime: as given, or its default.

    Raises:
        AgentFailure: BAD_REQUEST for a setting that this runtime does not have, or a value that it does not take.
    """
    return settings.resolve(options.runtime, options.settings, load(options.runtime).SETTINGS)


def prepare(
    format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, cache_folder: str, killed: int = 0
) -> Prepared:
    """Build what the runtime loads, or find it in the cache; a runtime without such a step loads what it is given.

    Args:
        format_name: e.g. ``onnx``.
        paths: the file of each of the format's roles, verified.
        options: runtime and settings.
        cache_folder: where what was built is kept, for all models of this board; made where it is not there.
        killed: how many builds of this model the kernel has just killed: this one must make do with less memory.

    Raises:
        AgentFailure: the settings are wrong, or the model cannot be built here.
    """
    resolve_settings(options)
    runtime = load(options.runtime)
    if not hasattr(runtime, "prepare"):
        return Prepared(format_name, paths, None, False, [])
    prepared = runtime.prepare(format_name, paths, options, cache_folder, killed)
    assert isinstance(prepared, Prepared)
    return prepared


def open_model(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions) -> Model:
    """Return a model that loads on ``__enter__``.

    Args:
        format_name: e.g. ``onnx``.
        paths: the file of each of the format's roles.
        options: runtime, threads and settings.

    Raises:
        AgentFailure: CAPABILITY_MISSING for a runtime that is not there or does not take this format; BAD_REQUEST for
            settings that it does not take.
    """
    resolve_settings(options)
    model = load(options.runtime).open_model(format_name, paths, options)
    assert isinstance(model, Model)
    return model


def open_profiled(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, folder: str) -> ProfiledModel:
    """Return a model as :func:`open_model` does, whose profile is written to ``folder``.

    Raises:
        AgentFailure: CAPABILITY_MISSING, also for a runtime that cannot tell the time of single nodes.
    """
    resolve_settings(options)
    runtime = load(options.runtime)
    if not hasattr(runtime, "open_profiled"):
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, "%s cannot tell the time of single nodes" % options.runtime)
    model = runtime.open_profiled(format_name, paths, options, folder)
    assert isinstance(model, ProfiledModel)
    return model
