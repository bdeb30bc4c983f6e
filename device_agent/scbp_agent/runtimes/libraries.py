"""Importing what a board may lack: whatever is missing is the same failure, with the command that installs it there."""

import importlib
from typing import Any, Callable, Sequence

from scbp_agent import wire
from scbp_agent.runtimes import advice


def require(name: str, modules: Sequence[str], hint: Callable[[], str]) -> Any:
    """Import a library.

    Args:
        name: what people call it.
        modules: the names under which it is imported; the first that is there counts.
        hint: says how this board gets it; asked only where it is missing.

    Raises:
        AgentFailure: CAPABILITY_MISSING with the first module's reason, which is the one that is meant to be there.
    """
    reasons = []
    for module in modules:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            reasons.append(str(error))
    raise wire.AgentFailure(wire.CAPABILITY_MISSING, "%s cannot be imported: %s" % (name, reasons[0]), hint())


def require_numpy() -> Any:
    """Import numpy; raises CAPABILITY_MISSING."""
    return require("numpy", ("numpy",), lambda: advice.pip_hint("numpy"))
