"""Failures are values: a build that ran out of memory is a typed result, never 0.00 FPS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scbp_agent import wire


class FailureKind(StrEnum):
    """What went wrong with one candidate. The first block are the agent's words on the wire."""

    OUT_OF_MEMORY = wire.OUT_OF_MEMORY
    TIMEOUT = wire.TIMEOUT
    WORKER_CRASHED = wire.WORKER_CRASHED
    BAD_MODEL = wire.BAD_MODEL
    HASH_MISMATCH = wire.HASH_MISMATCH
    BLOB_MISSING = wire.BLOB_MISSING
    DISK_FULL = wire.DISK_FULL
    BOARD_BUSY = wire.BOARD_BUSY
    CAPABILITY_MISSING = wire.CAPABILITY_MISSING
    PROTOCOL_MISMATCH = wire.PROTOCOL_MISMATCH
    BAD_REQUEST = wire.BAD_REQUEST
    BUILD_FAILED = wire.BUILD_FAILED
    NO_TACTIC = wire.NO_TACTIC
    ENGINE_REFUSED = wire.ENGINE_REFUSED
    ENGINE_VERSION = wire.ENGINE_VERSION
    AGENT_ERROR = wire.AGENT_ERROR

    DERIVE_FAILED = "DERIVE_FAILED"
    TRAINING_FAILED = "TRAINING_FAILED"
    EXPORT_FAILED = "EXPORT_FAILED"
    PARITY_FAILED = "PARITY_FAILED"
    ACCURACY_FAILED = "ACCURACY_FAILED"
    UNLIKE_CONDITIONS = "UNLIKE_CONDITIONS"


@dataclass(frozen=True)
class Failure:
    """Why one candidate has no result. ``transient`` failures are worth another try."""

    kind: FailureKind
    message: str
    hint: str = ""
    transient: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return {"kind": self.kind.value, "message": self.message, "hint": self.hint, "transient": self.transient}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Failure:
        """Rebuild from :meth:`to_json`'s form; a kind this version does not know is an AGENT_ERROR."""
        known = data["kind"] in FailureKind.__members__
        kind = FailureKind(data["kind"]) if known else FailureKind.AGENT_ERROR
        return cls(kind, str(data["message"]), str(data.get("hint", "")), bool(data.get("transient", False)))
