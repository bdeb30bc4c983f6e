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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbp_host.latency.additive import AdditiveModel
from scbp_host.latency.base import Features, FigureModel
from scbp_host.latency.models import best_model
from scbp_host.latency.transfer import Source

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


def fit_paired(
    widths: Array, latencies: PairedLatencies, features: Features | None = None, sources: Sequence[Source] = ()
) -> tuple[FigureModel, float]:
    """Find the weight that leave-one-out finds best; return the best model of what it gives, and the weight.

    How noisy the reference was does not depend on the model, so the quickest one finds the weight.

    Args:
        widths: ``(n, n_superblocks)`` relative widths.
        latencies: of the same structures.
        features: what else latency may follow.
        sources: of latencies, measured elsewhere.
    """

    def squared_error(weight: float) -> float:
        return AdditiveModel(features).fit(widths, latencies.relative(weight)).squared_error

    weight = min(WEIGHTS, key=squared_error)
    return best_model(widths, latencies.relative(weight), features=features, sources=sources), weight
