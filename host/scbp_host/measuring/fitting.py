"""Which models fit into a device's memory beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scbp_agent import wire

# Of what the kernel calls available so much is for models; the rest is for whoever else is there.
SHARE = 0.8


@dataclass(frozen=True)
class Room:
    """Memory for a round.

    Attributes:
        available_bytes: what a new program could use without swapping; None where the device does not tell.
        reference_bytes: what the reference takes.
        most: models in a round at most, the reference among them.
    """

    available_bytes: int | None
    reference_bytes: int
    most: int

    def holds(self, *need_bytes: int) -> bool:
        """Tell whether models of these needs fit beside the reference."""
        needed = self.reference_bytes + sum(need_bytes)
        return self.available_bytes is None or needed <= SHARE * self.available_bytes

    def rounds(self, need_bytes: Mapping[int, int]) -> list[list[int]]:
        """Distribute models over rounds, in their order; what does not fit beside the reference has one of its own."""
        rounds: list[list[int]] = []
        for row, need in need_bytes.items():
            last = rounds[-1] if rounds else []
            if last and len(last) + 1 < self.most and self.holds(need, *(need_bytes[own] for own in last)):
                last.append(row)
            else:
                rounds.append([row])
        return rounds


def need_bytes(solo: wire.SoloResult) -> int:
    """Return what a model takes beside interpreter and runtime: of the processor's memory, and of the GPU's."""
    held = max(own.gpu_bytes or 0 for own in (solo.cold_load, solo.inference))
    return max(0, solo.peak_rss_bytes - solo.baseline_rss_bytes) + held


def available_bytes(solo: wire.SoloResult) -> int | None:
    """Return the device's memory before the model was loaded; None where it does not tell."""
    before = solo.conditions.get("before") or {}
    return before.get("memory_available_bytes")
