"""What makes a measurement doubtful, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class VerdictKind(StrEnum):
    """Why a figure may be off. ``UNSORTED`` is a line that an earlier release stored, its remedy within."""

    SPREAD_HIGH = "SPREAD_HIGH"
    DRIFT = "DRIFT"
    THROTTLED = "THROTTLED"
    CLOCKS_CHANGED = "CLOCKS_CHANGED"
    LOW_MEMORY = "LOW_MEMORY"
    CONTENDED = "CONTENDED"
    TOO_FEW_SAMPLES = "TOO_FEW_SAMPLES"
    FRAMES_MISSED = "FRAMES_MISSED"
    UNSORTED = "UNSORTED"


REMEDIES = {
    VerdictKind.SPREAD_HIGH: "close other programs, or measure for longer: --ci-width, --max-seconds",
    VerdictKind.DRIFT: "lock the clocks, cool the board, or close other programs",
    VerdictKind.THROTTLED: "cool the board, or give it a stronger supply",
    VerdictKind.CLOCKS_CHANGED: "lock the clocks (--lock-clocks), or set the governor to performance",
    VerdictKind.LOW_MEMORY: "stop other programs on the board; it may have been swapping",
    VerdictKind.CONTENDED: "stop what else uses the processor, or use fewer threads",
    VerdictKind.TOO_FEW_SAMPLES: "allow more seconds: --max-seconds",
    VerdictKind.FRAMES_MISSED: "lower the rate, take a smaller model, or stop other work on the device",
    VerdictKind.UNSORTED: "",
}


@dataclass(frozen=True)
class Verdict:
    """One doubt.

    Attributes:
        kind: which.
        detail: what was seen, in words and figures.
    """

    kind: VerdictKind
    detail: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        """Return detail and remedy as one line."""
        return f"{self.detail}: {self.remedy}" if self.remedy else self.detail

    def to_json(self) -> dict[str, str]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return {"kind": self.kind.value, "detail": self.detail}

    @classmethod
    def from_json(cls, data: dict[str, Any] | str) -> Self:
        """Rebuild from :meth:`to_json`'s form, or from a line of an earlier release."""
        if isinstance(data, str):
            return cls(VerdictKind.UNSORTED, data)
        return cls(VerdictKind(data["kind"]), str(data["detail"]))
