"""What the store gives back: immutable, and detached from the database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scbp_host.domain.outcome import Failure


class RunStatus(StrEnum):
    """Where a run stands; a run that was killed still says ``running`` and can be resumed."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        id: the run's name.
        created_at: UTC, ISO 8601 with microseconds.
        config: what the run was asked for.
        config_sha256: SHA-256 of the config as JSON with sorted keys; two runs of one config share it.
        status: where it stands.
    """

    id: str
    created_at: str
    config: dict[str, Any]
    config_sha256: str
    status: RunStatus


@dataclass(frozen=True)
class Outcome:
    """What one stage came to for one subject: exactly one of ``payload`` and ``failure`` is set.

    Attributes:
        stage: name of the stage, e.g. ``measure``.
        subject: what it was about: a candidate's id, ``seed``, ...
        payload: the stage's result in JSON form; None where it failed.
        failure: why there is no result; None where there is one.
        seconds: how long the stage took; None where the store is older than this figure.
        created_at: UTC, ISO 8601 with microseconds.
    """

    stage: str
    subject: str
    payload: dict[str, Any] | None
    failure: Failure | None
    seconds: float | None
    created_at: str

    @property
    def ok(self) -> bool:
        """Whether the stage succeeded."""
        return self.failure is None
