"""What a latency model learns from: latencies with as little of the machine's noise in them as can be.

The ranking uses paired p50 ratios. To learn how latency follows from structure, two things serve better:

- The 10 % quantile of the samples. What a neighbour on the machine does makes runs slower, hardly ever faster, so the
  fast runs say what the structure costs.
- Only as much of the reference's movement divided out as helps. A paired ratio cancels what meets both models alike:
  clocks, heat, another process. But the reference has noise of its own: one whose weights just fill a shared cache
  slows down by half when a neighbour uses that cache, where a small candidate feels nothing. This is a control variate
  (Lavenberg and Welch, "A perspective on the use of control variables", Management Science, 1981), whose best weight
  lies between 0, the candidate's latency as it is, and 1, the paired ratio. Leave-one-out says where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbp_host.latency.base import FigureModel

Array = NDArray[np.float64]

WEIGHTS = (1.0, 0.75, 0.5, 0.25, 0.0)


@dataclass(frozen=True)
class PairedLatencies:
    """Measurements of several structures, each beside the same reference.

    Attributes:
        ratio: ``(n,)`` paired p50 ratios, whose scale the result keeps.
        latency_p10_ns: ``(n,)`` 10 % quantile of each structure's samples.
        reference_p10_ns: ``(n,)`` the same of the reference in the same measurement.
    """

    ratio: Array
    latency_p10_ns: Array
    reference_p10_ns: Array

    def relative(self, weight: float) -> Array:
        """Return ``(n,)`` latencies relative to the reference, ``weight`` of whose own movement is divided out."""
        pooled = float(np.median(self.reference_p10_ns))
        relative = self.latency_p10_ns / pooled * (pooled / self.reference_p10_ns) ** weight
        scaled: Array = relative * np.median(self.ratio / relative)
        return scaled


def fit_paired(make: Callable[[], FigureModel], widths: Array, latencies: PairedLatencies) -> tuple[FigureModel, float]:
    """Fit a model at every weight; return the one that leave-one-out finds best, with its weight.

    Args:
        make: makes a model that is not fitted yet.
        widths: ``(n, n_superblocks)`` relative widths.
        latencies: of the same structures.
    """
    fits = [(make().fit(widths, latencies.relative(weight)), weight) for weight in WEIGHTS]
    return min(fits, key=lambda fitted: fitted[0].squared_error)
