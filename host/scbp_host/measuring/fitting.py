"""Which models may take turns with each other: they must fit into memory, and more than a pair into the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scbp_agent import wire

# Of what the kernel calls available so much is for models; the rest is for whoever else is there.
SHARE = 0.8
# Of the largest cache so much is for a round's weights: neighbours, also on other machines of this processor, have the
# rest. Of a round whose weights were more than the cache, the largest model came out up to 1.4 times as slow as in a
# pair (tests/bench/rounds.py).
CACHE_SHARE = 0.5


@dataclass(frozen=True)
class Need:
    """What a model takes.

    Attributes:
        memory_bytes: beside interpreter and runtime, of the processor's memory and the GPU's.
        file_bytes: its file, which is its weights above all.
    """

    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class Room:
    """What a device has for a round.

    Attributes:
        available_bytes: what a new program could use without swapping; None where the device does not tell.
        cache_bytes: its largest cache; None where the device does not tell, and then models are paired.
        reference: what the reference takes.
        most: models in a round at most, the reference among them.
    """

    available_bytes: int | None
    cache_bytes: int | None
    reference: Need
    most: int

    def holds(self, *needs: Need) -> bool:
        """Tell whether these models fit into memory beside the reference."""
        needed = self.reference.memory_bytes + sum(own.memory_bytes for own in needs)
        return self.available_bytes is None or needed <= SHARE * self.available_bytes

    def rounds(self, needs: Mapping[int, Need]) -> list[list[int]]:
        """Distribute models over rounds, in their order; one that goes with none has a round of its own."""
        rounds: list[list[int]] = []
        for row, need in needs.items():
            last = rounds[-1] if rounds else []
            if last and len(last) + 1 < self.most and self._is_shared_by(need, *(needs[own] for own in last)):
                last.append(row)
            else:
                rounds.append([row])
        return rounds

    def _is_shared_by(self, *needs: Need) -> bool:
        weights = self.reference.file_bytes + sum(own.file_bytes for own in needs)
        return self.holds(*needs) and weights <= CACHE_SHARE * (self.cache_bytes or 0)


def memory_need(solo: wire.SoloResult) -> int:
    """Return what a model takes beside interpreter and runtime: of the processor's memory, and of the GPU's."""
    held = max(own.gpu_bytes or 0 for own in (solo.cold_load, solo.inference))
    return max(0, solo.peak_rss_bytes - solo.baseline_rss_bytes) + held


def available_bytes(solo: wire.SoloResult) -> int | None:
    """Return the device's memory before the model was loaded; None where it does not tell."""
    before = solo.conditions.get("before") or {}
    return before.get("memory_available_bytes")
