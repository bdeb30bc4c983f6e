"""Sets of c-ratio tuples and their algebra: plain values, composed by ``|``, ``&``, ``-`` and filters.

>>> tapered = non_increasing((1.0, 0.75, 0.5), superblocks=4) - uniform((1.0,), superblocks=4)
>>> tapered.size
14
"""

from scbp_host.space.ratio_sets.base import Ratios, RatioSet, SetSize
from scbp_host.space.ratio_sets.families import (
    explicit,
    non_decreasing,
    non_increasing,
    one_at_a_time,
    permutations,
    product,
    uniform,
)
from scbp_host.space.ratio_sets.filters import AnyRatioSet, Filter, FilteredSet, where

__all__ = [
    "AnyRatioSet",
    "Filter",
    "FilteredSet",
    "RatioSet",
    "Ratios",
    "SetSize",
    "explicit",
    "non_decreasing",
    "non_increasing",
    "one_at_a_time",
    "permutations",
    "product",
    "uniform",
    "where",
]
