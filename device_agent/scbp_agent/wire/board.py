"""What the host asks of the board beside measurements: nobody else on it, and clocks that do not move."""

from typing import Any, Dict, List, NamedTuple, Optional

from scbp_agent.wire.codec import field

LockClaim = NamedTuple(
    "LockClaim", [("owner", str), ("pid", int), ("purpose", str), ("session", str), ("lent", Optional[str])]
)
LockClaim.__doc__ = """Who wants the board, and what for.

``owner`` and ``pid`` are the host's user and process; ``session`` is a random name that a host keeps over
reconnections, so that it can take the lock from its own agent whose connection was lost; ``lent`` is the session that
holds the lock for this one (a command that runs under ``devices lock``).
"""

LockHolder = NamedTuple(
    "LockHolder",
    [("owner", str), ("pid", int), ("purpose", str), ("session", str), ("since", str), ("agent_pid", int)],
)
LockHolder.__doc__ = (
    """Who has the board: the claim, since when by the board's clock (ISO 8601, UTC), and the agent's pid."""
)

ClocksPlan = NamedTuple(
    "ClocksPlan", [("power_mode", Optional[str]), ("jetson_clocks", bool), ("governor", Optional[str])]
)
ClocksPlan.__doc__ = """How to hold the clocks: nvpmodel's mode by its name, jetson_clocks, the governor of the CPUs."""

ClocksResult = NamedTuple(
    "ClocksResult", [("policy", Optional[str]), ("power_mode", Optional[str]), ("warnings", List[str])]
)
ClocksResult.__doc__ = """What the board shows of its clocks afterwards, as in the conditions, and what it refused."""


def lock_claim(data: Dict[str, Any]) -> LockClaim:
    """Read a LockClaim; raises WireError."""
    return LockClaim(
        field(data, "owner", str),
        field(data, "pid", int),
        field(data, "purpose", str),
        field(data, "session", str),
        field(data, "lent", str, type(None)),
    )


def lock_holder(data: Dict[str, Any]) -> LockHolder:
    """Read a LockHolder; raises WireError."""
    return LockHolder(
        field(data, "owner", str),
        field(data, "pid", int),
        field(data, "purpose", str),
        field(data, "session", str),
        field(data, "since", str),
        field(data, "agent_pid", int),
    )


def clocks_plan(data: Dict[str, Any]) -> ClocksPlan:
    """Read a ClocksPlan; raises WireError."""
    return ClocksPlan(
        field(data, "power_mode", str, type(None)),
        field(data, "jetson_clocks", bool),
        field(data, "governor", str, type(None)),
    )


def clocks_result(data: Dict[str, Any]) -> ClocksResult:
    """Read a ClocksResult; raises WireError."""
    return ClocksResult(
        field(data, "policy", str, type(None)),
        field(data, "power_mode", str, type(None)),
        [str(warning) for warning in field(data, "warnings", list)],
    )
