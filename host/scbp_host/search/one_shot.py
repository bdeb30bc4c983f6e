"""The one-shot search: measure a spread of the space, predict the rest, train a few once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Interval
from scbp_host.latency.additive import AdditiveModel, size_features
from scbp_host.latency.models import best_model
from scbp_host.latency.pairing import PairedLatencies, fit_paired
from scbp_host.latency.transfer import Experience
from scbp_host.measuring.paired import CONFIDENCE
from scbp_host.search.accuracy import AccuracyPrior
from scbp_host.search.base import Limits, Observation, Proposal, Purpose
from scbp_host.search.design import covering, maximin

Array = NDArray[np.float64]
T = TypeVar("T")

# An accuracy model of fewer trainings than this knows less than the guess.
MIN_TRAININGS = 4
# The paper's headline asks for a fifth less latency than the seed's; who wants less than that gains little by a swap.
WORTHWHILE = 0.8
# Of so many times more than asked for, the first proposals under a latency budget are a spread.
SHORTLIST = 4


@dataclass(frozen=True)
class _Forecast:
    """What is expected of every structure: arrays over the pool, intervals for what is measured or predicted."""

    latency: list[Interval]
    memory: list[Interval]
    onnx_bytes: Array
    accuracy: Array
    accuracy_std: Array | None


class OneShotSearch:
    """Proposes from a finite pool of structures.

    Before anything is trained, a structure's accuracy is guessed; afterwards what was trained teaches the rest.

    Args:
        pool: every structure of the space, once.
        widths: ``(n_pool, n_superblocks)`` channels kept / the seed's channels, for each superblock.
        prior: the guesses, and what accuracy is learned from.
        limits: the budgets.
        seed_val_top1: the seed's validation accuracy.
        random_seed: decides which spread of the space is measured first.
        experience: what earlier runs measured, maybe on other devices or of other seeds.
    """

    def __init__(
        self,
        pool: Sequence[Candidate],
        widths: Array,
        prior: AccuracyPrior,
        limits: Limits,
        seed_val_top1: float,
        random_seed: int,
        experience: Experience | None = None,
    ) -> None:
        self._pool = tuple(pool)
        self._widths = widths
        self._prior = prior
        self._limits = limits
        self._seed_val_top1 = seed_val_top1
        self._random_seed = random_seed
        self._experience = experience or Experience()
        self._index = {candidate.structure_id: row for row, candidate in enumerate(self._pool)}
        self._seen: dict[int, Observation] = {}

    def observe(self, observations: Sequence[Observation]) -> None:
        """Remember the newest observation of each structure; those outside the pool are ignored."""
        for observation in observations:
            row = self._index.get(observation.candidate.structure_id)
            if row is not None:
                self._seen[row] = observation

    def propose(self, purpose: Purpose, count: int) -> Proposal:
        """Propose a spread to measure, or the most promising structures to train."""
        if purpose is Purpose.MEASURE:
            return self._spread(count)
        return self._promising(count)

    def _spread(self, count: int) -> Proposal:
        rows = covering(self._widths, count, self._random_seed)
        return Proposal(tuple(self._pool[row] for row in rows if row not in self._seen), len(self._pool), 0)

    def _promising(self, count: int) -> Proposal:
        measured = [row for row, seen in self._seen.items() if seen.latency_ratio is not None]
        if len(measured) < 2:
            return Proposal((), 0, 0)
        sizes = AdditiveModel().fit(
            self._widths[measured], np.asarray([float(_known(self._seen[row].onnx_bytes)) for row in measured])
        )
        onnx_bytes = sizes.predict(self._widths).mean
        model, weight = fit_paired(
            self._widths[measured],
            PairedLatencies(
                np.asarray([_known(self._seen[row].latency_ratio).value for row in measured]),
                np.asarray([_known(self._seen[row].latency_p10_ns) for row in measured]),
                np.asarray([_known(self._seen[row].reference_p10_ns) for row in measured]),
            ),
            size_features(sizes, float(onnx_bytes.max())),
            self._experience.latency,
        )
        forecast = self._forecast(model.predict(self._widths, CONFIDENCE).intervals(), onnx_bytes, measured)
        plausible = self._plausible(forecast)
        untried = [row for row in plausible if self._untried(row)]
        # A training is worth its minutes for what is surely faster, as long as there is such.
        worthwhile = WORTHWHILE if self._limits.latency_ratio is None else 1.0
        untried = [row for row in untried if forecast.latency[row].high < worthwhile] or untried
        chosen = self._by_gain(untried, forecast, count) if self._trained_rows() else []
        if not chosen:
            first = self._along_latency if self._limits.latency_ratio is None else self._near_budget
            chosen = first(untried, forecast, count)
        dropped = len(self._pool) - len(plausible)
        candidates = tuple(self._pool[row] for row in chosen)
        return Proposal(candidates, len(plausible), dropped, model.leave_one_out(), weight)

    def _forecast(self, latency: list[Interval], onnx_bytes: Array, measured: Sequence[int]) -> _Forecast:
        for row in measured:
            onnx_bytes[row] = _known(self._seen[row].onnx_bytes)
            latency[row] = _known(self._seen[row].latency_ratio)
        memory = self._memory({row: float(_known(self._seen[row].peak_rss_bytes)) for row in measured})
        accuracy, std = self._accuracy()
        return _Forecast(latency, memory, onnx_bytes, accuracy, std)

    def _memory(self, exact: Mapping[int, float]) -> list[Interval]:
        """Predict peak memory for every structure; what is measured is known exactly."""
        values = np.asarray(list(exact.values()), dtype=np.float64)
        model = best_model(self._widths[list(exact)], values, sources=self._experience.memory)
        intervals = model.predict(self._widths, CONFIDENCE).intervals()
        for row, value in exact.items():
            intervals[row] = Interval(value, value, value)
        return intervals

    def _accuracy(self) -> tuple[Array, Array | None]:
        """Return expected accuracies (or, before there are trainings, the guesses) and their deviations."""
        trained = self._trained_rows()
        if len(trained) < MIN_TRAININGS:
            return self._prior.guess, None
        top1 = [_known(self._seen[row].val_top1) for row in trained]
        return self._prior.posterior(trained, top1, self._seed_val_top1)

    def _plausible(self, forecast: _Forecast) -> list[int]:
        """Return the rows that can be on the front within the limits, as far as the intervals tell."""
        low = np.asarray([interval.low for interval in forecast.latency])
        high = np.asarray([interval.high for interval in forecast.latency])
        memory_low = np.asarray([interval.low for interval in forecast.memory])
        possible = np.ones(len(self._pool), dtype=bool)
        if self._limits.latency_ratio is not None:
            possible &= low <= self._limits.latency_ratio
        if self._limits.peak_rss_bytes is not None:
            possible &= memory_low <= self._limits.peak_rss_bytes
        for row in np.flatnonzero(possible).tolist():
            # Beaten: by one no larger, no less accurate by expectation, and faster beyond both intervals.
            beaten = (high < low[row]) & (forecast.accuracy >= forecast.accuracy[row])
            beaten &= (forecast.onnx_bytes <= forecast.onnx_bytes[row]) & (memory_low <= memory_low[row])
            possible[row] = not beaten.any() and not (row in self._seen and self._seen[row].failed)
        rows: list[int] = np.flatnonzero(possible).tolist()
        return rows

    def _along_latency(self, rows: Sequence[int], forecast: _Forecast, count: int) -> list[int]:
        """Cut the range of predicted latency into ``count`` parts; take the best guess of accuracy from each."""
        if not rows:
            return []
        logs = np.log([forecast.latency[row].value for row in rows])
        edges = np.linspace(logs.min(), logs.max(), count + 1)[1:-1]
        parts = np.digitize(logs, edges)
        chosen = []
        for part in range(count):
            members = [row for row, own in zip(rows, parts, strict=True) if own == part]
            if members:
                chosen.append(max(members, key=lambda row: (forecast.accuracy[row], -forecast.latency[row].value)))
        rest = sorted((row for row in rows if row not in chosen), key=lambda row: -forecast.accuracy[row])
        return (chosen + rest)[:count]

    def _near_budget(self, rows: Sequence[int], forecast: _Forecast, count: int) -> list[int]:
        """Take a spread of those that keep most and are probably in time; the others' latencies are of no use."""
        score = forecast.accuracy * self._chance_in_time(forecast)
        best = sorted(rows, key=lambda row: (-float(score[row]), row))[: SHORTLIST * count]
        # Neighbours would teach the accuracy model one thing twice.
        return [best[own] for own in maximin(self._widths[best], count, [0])] if best else []

    def _by_gain(self, rows: Sequence[int], forecast: _Forecast, count: int) -> list[int]:
        """Take those with the largest expected gain in speed: the chance to be accurate enough, times the saving.

        With a latency budget fast enough is fast enough, so the gain is in accuracy, times the chance to be in time.
        """
        if forecast.accuracy_std is None:
            return []
        expected, std = forecast.accuracy, forecast.accuracy_std
        ratios = np.asarray([forecast.latency[row].value for row in range(len(self._pool))])
        if self._limits.latency_ratio is not None:
            reached = max(_known(self._seen[row].val_top1) for row in self._trained_rows())
            # Expected improvement (Jones et al., 1998, eq. 15) over the best accuracy so far.
            score = (expected - reached) * stats.norm.cdf((expected - reached) / std)
            score += std * stats.norm.pdf((expected - reached) / std)
            score *= self._chance_in_time(forecast)
        else:
            floor = self._limits.min_val_top1
            chance = np.ones(len(ratios)) if floor is None else stats.norm.sf((floor - expected) / std)
            score = chance * np.clip(1.0 - ratios, 0.0, None)
        return sorted(rows, key=lambda row: (-float(score[row]), row))[:count]

    def _chance_in_time(self, forecast: _Forecast) -> Array:
        """Return for every structure the chance that its latency is within the budget; ``(n_pool,)``."""
        value, low, high = (
            np.asarray([getattr(own, name) for own in forecast.latency]) for name in ("value", "low", "high")
        )
        std = np.maximum((high - low) / (2 * stats.norm.ppf(0.5 + CONFIDENCE / 2)), 1e-9)
        return np.asarray(stats.norm.cdf((_known(self._limits.latency_ratio) - value) / std))

    def _trained_rows(self) -> list[int]:
        return [row for row, seen in self._seen.items() if seen.val_top1 is not None]

    def _untried(self, row: int) -> bool:
        seen = self._seen.get(row)
        if seen is None:
            return True
        # What is measured to be too slow would not be ranked either.
        return seen.val_top1 is None and not seen.failed and not seen.halved and not self._limits.exceeded_by(seen)


def relative_widths(pool: Sequence[Candidate], superblocks: Sequence[Mapping[str, int]]) -> Array:
    """Return ``(n_pool, n_superblocks)``: channels kept / the seed's channels.

    Args:
        pool: structures.
        superblocks: for each, group name -> the seed's channels.
    """
    kept = [dict(candidate.widths) for candidate in pool]
    return np.asarray(
        [[sum(own[name] for name in block) / sum(block.values()) for block in superblocks] for own in kept]
    )


def importance_kept(pool: Sequence[Candidate], curves: Mapping[str, Array]) -> Array:
    """Return ``(n_pool,)``: the geometric mean over groups of the importance that the kept channels carry.

    Layers follow each other, so what one loses is lost to all behind it: shares multiply.

    Args:
        pool: structures.
        curves: group name -> ``(channels + 1,)`` share of importance kept with w channels.
    """
    logs = [[float(np.log(max(curves[name][width], 1e-9))) for name, width in own.widths] for own in pool]
    return np.asarray(np.exp(np.mean(logs, axis=1)))


def _known(value: T | None) -> T:
    assert value is not None, "only measured or trained structures come here"
    return value
