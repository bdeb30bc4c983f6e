"""Progress as data: the pipeline emits events, the command line draws them.

Nothing below ``cli/`` prints. An event says what happened, never how to show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StageStarted:
    """A stage begins: ``total`` steps are expected (None: not known)."""

    stage: str
    title: str
    total: int | None = None


@dataclass(frozen=True)
class Progress:
    """Step ``done`` of the stage is complete; ``note`` says which candidate and what came out."""

    stage: str
    done: float
    note: str = ""


@dataclass(frozen=True)
class Acknowledged:
    """The outcome (stage, subject) is on disk: a run that is killed now and resumed will not repeat it."""

    stage: str
    subject: str
    reused: bool = False


@dataclass(frozen=True)
class StageFinished:
    """A stage is complete."""

    stage: str
    seconds: float
    summary: str = ""


@dataclass(frozen=True)
class Warned:
    """Something the user should know that does not stop the run."""

    message: str


Event = StageStarted | Progress | Acknowledged | StageFinished | Warned
Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listen to nothing."""
