"""Orthogonal arrays of strength 2: in any two columns, every pair of levels appears once.

Bush's construction ("Orthogonal arrays of index unity", Annals of Mathematical Statistics, 1952): over a finite field
of q levels, row (a, b) holds a + b * e for every element e of the field, and b in one more column. Two columns of
different e fix a and b, so any pair of levels there belongs to exactly one row.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int64]

# Level counts that are powers of primes, each with its prime and the polynomial, lowest power first and without its
# leading 1, by which products are reduced; there is no field of 6 or 10 elements.
_FIELDS: dict[int, tuple[int, tuple[int, ...]]] = {
    2: (2, (0,)),
    3: (3, (0,)),
    4: (2, (1, 1)),
    5: (5, (0,)),
    7: (7, (0,)),
    8: (2, (1, 1, 0)),
    9: (3, (1, 0)),
    11: (11, (0,)),
    13: (13, (0,)),
}


def orthogonal_array(levels: int, factors: int) -> Levels | None:
    """Return ``(levels ** 2, factors)`` levels from 0, the first row all 0; None where this construction has none.

    Args:
        levels: of each factor; a power of a prime, at most 13.
        factors: at most ``levels + 1``.
    """
    if levels not in _FIELDS or factors > levels + 1:
        return None
    added, multiplied = _tables(levels)
    first, second = (own.ravel() for own in np.meshgrid(np.arange(levels), np.arange(levels), indexing="ij"))
    columns = [added[first, multiplied[second, own]] for own in range(levels)]
    return np.stack([*columns, second], axis=1)[:, :factors]


def _tables(levels: int) -> tuple[Levels, Levels]:
    """Return the field's sums and products, each ``(levels, levels)``."""
    prime, reduction = _FIELDS[levels]
    digits = np.asarray(list(itertools.product(range(prime), repeat=len(reduction))), dtype=np.int64)[:, ::-1]
    places = prime ** np.arange(len(reduction))
    added = (digits[:, None] + digits[None]) % prime @ places
    products = [[_product(one, two, prime, reduction) @ places for two in digits] for one in digits]
    return added, np.asarray(products)


def _product(one: Levels, two: Levels, prime: int, reduction: tuple[int, ...]) -> Levels:
    """Multiply two polynomials and reduce them: x^n is minus what the table says."""
    found = np.convolve(one, two)
    for power in range(len(found) - 1, len(reduction) - 1, -1):
        below = slice(power - len(reduction), power)
        found[below] -= found[power] * np.asarray(reduction)
        found[power] = 0
    return np.asarray(found[: len(reduction)] % prime, dtype=np.int64)
