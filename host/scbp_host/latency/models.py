"""The models there are, and which of them to believe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scbp_host.latency.additive import AdditiveModel
from scbp_host.latency.base import Features, FigureModel
from scbp_host.latency.staircase import StaircaseModel
from scbp_host.latency.transfer import Source, WarmModel

Array = NDArray[np.float64]

MODELS: Mapping[str, Callable[[Features | None], FigureModel]] = {
    "additive": AdditiveModel,
    "staircase": StaircaseModel,
}


def best_model(
    widths: Array,
    values: Array,
    std: Array | None = None,
    features: Features | None = None,
    sources: Sequence[Source] = (),
    shares: Array | None = None,
) -> FigureModel:
    """Fit every model there is; return the one that predicts best what it did not see.

    Args:
        widths: ``(n, n_superblocks)`` relative widths.
        values: ``(n,)`` measured, above zero.
        std: ``(n,)`` their standard deviations; None where not known.
        features: what else the figure may follow.
        sources: of the same figure, measured elsewhere; they are believed as far as they agree.
        shares: see :class:`~scbp_host.latency.base.FigureModel`.

    Raises:
        ValueError: fewer than two measurements, or a value that is not above zero.
    """
    models = [make(features) for make in MODELS.values()]
    if sources:
        models.append(WarmModel(sources, partial(StaircaseModel, features)))
    return min((own.fit(widths, values, std, shares) for own in models), key=lambda own: own.squared_error)
