"""One monotonic deadline, made once and passed down."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock; changes of the wall clock do not move it.

    Attributes:
        at_s: the moment, in seconds of :func:`time.monotonic`.
        limit_s: how far away it was when it was made, for messages.
    """

    at_s: float
    limit_s: float

    @classmethod
    def after(cls, limit_s: float) -> Deadline:
        """Return the deadline ``limit_s`` seconds from now."""
        return cls(time.monotonic() + limit_s, limit_s)

    def remaining_s(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining_s() <= 0.0
