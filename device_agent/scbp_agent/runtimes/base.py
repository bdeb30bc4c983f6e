"""What a runtime is to the agent, and the table of those there are.

A new runtime is one module with ``version()``, ``max_opset()`` and ``open_model(format, paths, options)``, and one line
in RUNTIMES. One that can tell the time of single nodes has ``open_profiled(format, paths, options, folder)`` as well.
"""

import importlib
from typing import Any, Dict, List, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import advice

# Name -> module. Plain strings: listing must not import what may take seconds and hundreds of MB.
RUNTIMES = {"onnxruntime": "scbp_agent.runtimes.onnxruntime"}


class Model(object):
    """One loaded model. The constructor touches nothing; ``__enter__`` loads, ``__exit__`` lets go.

    Attributes (from ``__enter__`` on):
        input_shape: of the only input; None for a size that the model leaves open.
        dtype: of that input, as numpy names it.
    """

    input_shape: Tuple[Optional[int], ...] = ()
    dtype = ""

    def __enter__(self) -> "Model":
        raise NotImplementedError

    def __exit__(self, *_exception: Any) -> None:
        raise NotImplementedError

    def run(self, array: Any) -> List[Any]:
        """Run one input, a C-order array of ``input_shape`` and ``dtype``; returns all outputs as arrays."""
        raise NotImplementedError


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
    if name in advice.COMING:
        message = "runtime %r %s; this agent has: %s" % (name, advice.COMING[name], known)
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message)
    raise wire.AgentFailure(wire.CAPABILITY_MISSING, "no runtime %r; known: %s" % (name, known))


def load(name: str) -> Any:
    """Return the runtime's module in this package, which imports the library only when asked to do something."""
    return importlib.import_module(require(name))


def open_model(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions) -> Model:
    """Return a model that loads on ``__enter__``.

    Args:
        format_name: e.g. ``onnx``.
        paths: the file of each of the format's roles.
        options: runtime and threads.

    Raises:
        AgentFailure: CAPABILITY_MISSING for a runtime that is not there or does not take this format.
    """
    model = load(options.runtime).open_model(format_name, paths, options)
    assert isinstance(model, Model)
    return model


def open_profiled(format_name: str, paths: Dict[str, str], options: wire.RuntimeOptions, folder: str) -> ProfiledModel:
    """Return a model as :func:`open_model` does, whose profile is written to ``folder``.

    Raises:
        AgentFailure: CAPABILITY_MISSING, also for a runtime that cannot tell the time of single nodes.
    """
    runtime = load(options.runtime)
    if not hasattr(runtime, "open_profiled"):
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, "%s cannot tell the time of single nodes" % options.runtime)
    model = runtime.open_profiled(format_name, paths, options, folder)
    assert isinstance(model, ProfiledModel)
    return model


def require_numpy() -> Any:
    """Import numpy; raises CAPABILITY_MISSING with the command that installs it."""
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        message = "numpy cannot be imported: %s" % error
        raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, advice.pip_hint("numpy"))
