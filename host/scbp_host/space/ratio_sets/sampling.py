"""Drawing without replacement from ranges too large to be written out."""

from __future__ import annotations

import random
from collections.abc import Iterator


def shuffled_range(size: int, random_seed: int) -> Iterator[int]:
    """Yield 0 ... size - 1 in a uniformly random order, each once; memory grows with what was drawn, not with ``size``.

    A Fisher-Yates shuffle (Durstenfeld, "Algorithm 235: Random permutation", 1964) of an array of which only the
    displaced entries are kept. Any prefix is a uniform sample without replacement.

    Args:
        size: may exceed 64 bits.
        random_seed: decides the order.
    """
    source = random.Random(random_seed)  # noqa: S311 - a search's sample, no secret; numpy's stops at 64 bits
    displaced: dict[int, int] = {}
    for place in range(size):
        other = source.randrange(place, size)
        drawn = displaced.pop(other, other)
        if other != place:
            displaced[other] = displaced.pop(place, place)
        yield drawn
