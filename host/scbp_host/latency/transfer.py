"""Warm start: what other boards, precisions and seeds showed, believed as far as it agrees with this one.

A network that is slower than its work there is often slower here, so this board's latency divided by what another's
model expects is flatter than the latency, and learned from fewer measurements. Whether that is so is not taken for
granted. Each source gives one such model beside the cold one, which knows nothing else; each is weighted by its
leave-one-out likelihood on this board's own measurements (pseudo-Bayesian model averaging: Yao et al., "Using Stacking
to Average Bayesian Predictive Distributions", Bayesian Analysis, 2018, section 2.2). A source that disagrees
predicts what it did not see worse than the cold model, and gets next to no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.resources import Resource
from scbp_host.latency.base import CONFIDENCE, FigureModel, LeaveOneOut, Prediction
from scbp_host.latency.staircase import StaircaseModel

Array = NDArray[np.float64]
Expect = Callable[[Array], Array]

# An expectation is at least this share of the least that was measured.
_LEAST = 0.1


@dataclass(frozen=True)
class Source:
    """What was measured elsewhere, over as many superblocks.

    Attributes:
        name: of the board, precision and seed.
        widths: ``(n, n_superblocks)`` relative widths.
        values: ``(n,)`` measured, above zero; the unit does not matter.
    """

    name: str
    widths: Array
    values: Array


@dataclass(frozen=True)
class Experience:
    """What earlier runs measured, figure by figure.

    Attributes:
        latency: sources of latencies.
        resources: sources of what models take of each.
    """

    latency: tuple[Source, ...] = ()
    resources: Mapping[Resource, tuple[Source, ...]] = field(default_factory=dict)


class WarmModel:
    """A :class:`~scbp_host.latency.base.FigureModel`.

    Args:
        sources: what to begin with; those of other numbers of superblocks are left out.
        make: makes the models.
    """

    def __init__(self, sources: Sequence[Source], make: Callable[[], FigureModel] = StaircaseModel) -> None:
        self._sources = tuple(sources)
        self._names: list[str] = []
        self._make = make
        self._expected: list[Expect] | None = None
        self._models: list[FigureModel] = []
        self._weights = np.empty(0)

    def fit(self, widths: Array, values: Array, std: Array | None = None, shares: Array | None = None) -> Self:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        if self._expected is None:  # the sources stay what they are
            alike = [own for own in self._sources if own.widths.shape[1] == widths.shape[1]]
            self._names = ["", *(own.name for own in alike)]
            self._expected = [lambda own: np.ones(len(own)), *(_expectation(self._make(), own) for own in alike)]
        parts = [expect(widths) for expect in self._expected]
        self._models = [self._make().fit(widths, values / part, None if std is None else std / part) for part in parts]
        logs = np.asarray([own.log_density for own in self._models])
        weights = np.exp(logs - logs.max())
        self._weights = weights / weights.sum()
        return self

    def predict(self, widths: Array, confidence: float = CONFIDENCE) -> Prediction:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        assert self._expected is not None, "expected a fitted model; call fit first"
        parts = [_scaled(own.predict(widths, confidence), expect(widths)) for own, expect in self._pairs()]
        mean = self._weights @ np.stack([own.mean for own in parts])
        second = self._weights @ np.stack([own.std**2 + own.mean**2 for own in parts])
        std = np.sqrt(np.maximum(second - mean**2, 0.0))
        # Each model's intervals reach as far as its own freedom says; so do the mixture's, in proportion.
        reaches = self._weights @ np.stack([(own.high - own.mean) / own.std for own in parts])
        return Prediction(mean, std, np.maximum(mean - reaches * std, 0.0), mean + reaches * std)

    def leave_one_out(self) -> LeaveOneOut:
        """See :class:`~scbp_host.latency.base.FigureModel`; that of the model with the most weight."""
        return self._models[int(np.argmax(self._weights))].leave_one_out()

    @property
    def log_density(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`."""
        return float(np.logaddexp.reduce([own.log_density for own in self._models]) - np.log(len(self._models)))

    @property
    def squared_error(self) -> float:
        """See :class:`~scbp_host.latency.base.FigureModel`; the mean by weight."""
        return float(self._weights @ np.asarray([own.squared_error for own in self._models]))

    @property
    def weights(self) -> dict[str, float]:
        """How much each source is believed, and the cold model, named ``""``; they add up to 1."""
        return dict(zip(self._names, self._weights.tolist(), strict=True))

    def _pairs(self) -> list[tuple[FigureModel, Expect]]:
        return list(zip(self._models, self._expected or (), strict=True))


def _expectation(model: FigureModel, source: Source) -> Expect:
    fitted = model.fit(source.widths, source.values)
    # Far from what was measured there, an expectation may come near zero, and nothing may be divided by that.
    least, most = _LEAST * float(source.values.min()), float(source.values.max())

    def expect(widths: Array) -> Array:
        expected: Array = np.maximum(fitted.predict(widths).mean, least) / most
        return expected

    return expect


def _scaled(prediction: Prediction, factors: Array) -> Prediction:
    own = prediction
    return Prediction(own.mean * factors, own.std * factors, own.low * factors, own.high * factors)
