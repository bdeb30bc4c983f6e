"""Measuring models on one device, each beside the same reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.device_model import ToDeviceModel, as_onnx
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.measuring.alone import AloneBench, to_alone
from scbp_host.measuring.fitting import Need, Room, available_bytes, memory_need
from scbp_host.measuring.inferring import DeviceOutputs, InferenceBench, in_slices
from scbp_host.measuring.pooling import Pooled, unlike
from scbp_host.measuring.rounds import RoundBench
from scbp_host.measuring.settings import MeasureSettings as MeasureSettings
from scbp_host.measuring.shipping import Float32Array, Shipping
from scbp_host.measuring.stability import judge

T = TypeVar("T")
Settings = Mapping[str, Any]
NOTHING: Settings = MappingProxyType({})


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        onnx: self-contained.
        pack: whether to compress it for the way; for filler weights.
        told: the runtime's settings for this model, where they differ from the reference's.
    """

    onnx: bytes
    pack: bool = False
    told: Settings = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class _Alone:
    """What building a model, and running it alone, gave."""

    built: wire.BuildResult
    solo: wire.SoloResult


class MeasuringSession:
    """Measures models on one device.

    Args:
        client: a connected device.
        settings: how long to measure.
        options: runtime, threads and settings of the reference, e.g. those of the client's profile.
        reference: the ONNX that every model is paired with.
        inputs: ``(n, channels, height, width)`` float32, cycled through while timing; None means seeded noise.
        pack_reference: whether the reference is compressed for the way; for filler weights.
        convert: makes of an ONNX file what the device's runtime loads.
    """

    def __init__(
        self,
        client: DeviceClient,
        settings: MeasureSettings,
        options: wire.RuntimeOptions,
        reference: bytes,
        inputs: Float32Array | None,
        *,
        pack_reference: bool = False,
        convert: ToDeviceModel = as_onnx,
    ) -> None:
        self._client = client
        self._settings = settings
        self._options = options
        self._reference = reference
        self._reference_bytes: int | None = None
        self._alone = AloneBench(client, settings, options)
        self._rounds = RoundBench(client, settings)
        self._shipping = Shipping(client, convert, reference, inputs, self._alone.build, pack_reference=pack_reference)
        self._inference = InferenceBench(client, settings, self._shipping)

    def measure(self, onnx: bytes, *, pack: bool, told: Settings = NOTHING) -> Measurement | Failure:
        """Measure one model beside the reference, and alone; a transient failure is tried once more.

        Args:
            onnx: the model, self-contained.
            pack: whether to compress it for the way; for filler weights.
            told: the runtime's settings for this model, where they differ from the reference's.

        Raises:
            DeviceError: the device was lost for good.
        """
        return self.measure_together([Subject(onnx, pack, told)])[0]

    def measure_together(self, subjects: Sequence[Subject]) -> list[Measurement | Failure]:
        """Measure several models: each alone, then as many at a time beside the reference as fit.

        Where a round of several fails, each of them gets one of its own, so that none takes the others along.

        Returns:
            one outcome for each, in their order.

        Raises:
            DeviceError: the device was lost for good.
        """
        alone = {row: _twice(partial(self._load_alone, own)) for row, own in enumerate(subjects)}
        outcomes: dict[int, Measurement | Failure] = {
            row: own for row, own in alone.items() if isinstance(own, Failure)
        }
        loaded = {row: own for row, own in alone.items() if not isinstance(own, Failure)}
        needs = {row: Need(memory_need(own.solo), len(subjects[row].onnx)) for row, own in loaded.items()}
        room = self._room(loaded.values())
        for rows in room.rounds(needs):
            fits = room.holds(*(needs[row] for row in rows))
            timed = self._time([subjects[row] for row in rows], alternating=not fits)
            for row, own in zip(rows, timed, strict=True):
                outcomes[row] = own if isinstance(own, Failure) else _with_alone(own, loaded[row])
        return [outcomes[row] for row in range(len(subjects))]

    def pair_again(
        self, onnx: bytes, earlier: Measurement, *, pack: bool, told: Settings = NOTHING
    ) -> Measurement | Failure:
        """Time a measured model beside the reference once more; what it showed alone stays as ``earlier`` has it.

        Returns:
            the new samples' measurement, or why there is none; UNLIKE_CONDITIONS where the device is not as it was.

        Raises:
            DeviceError: the device was lost for good.
        """
        alternating = earlier.sampling is not None and earlier.sampling.alternating
        (timed,) = self._time([Subject(onnx, pack, told)], alternating=alternating)
        if isinstance(timed, Failure):
            return timed
        problem = unlike(earlier.conditions, timed.conditions)
        if problem is not None:
            return problem
        return replace(
            timed,
            peak_rss_bytes=earlier.peak_rss_bytes,
            baseline_rss_bytes=earlier.baseline_rss_bytes,
            load_ns=earlier.load_ns,
            conditions={**timed.conditions, "solo": earlier.conditions.get("solo")},
            alone=earlier.alone,
        )

    def infer(
        self, onnx: bytes, inputs: Float32Array, expected: Float32Array, *, told: Settings = NOTHING
    ) -> DeviceOutputs | Failure:
        """Run the model over all inputs and compare its outputs, on the device, with the host's.

        Args:
            onnx: the model, self-contained.
            inputs: ``(n, channels, height, width)`` float32.
            expected: ``(n, ...)`` float32, the host's outputs.
            told: as for :meth:`measure`.

        Raises:
            DeviceError: the device was lost for good.
        """
        infer = partial(self._inference.run, options=self._options_of(told))
        return in_slices(lambda rows: _twice(partial(infer, onnx, inputs[rows], expected[rows])), len(inputs))

    def wire_bytes(self, onnx: bytes) -> int | None:
        """Return how many bytes this model is on the wire, sent or found there; None where it was never shipped."""
        return self._shipping.wire_bytes(onnx)

    def _options_of(self, told: Settings) -> wire.RuntimeOptions:
        return self._options._replace(settings={**self._options.settings, **told})

    def _load_alone(self, subject: Subject) -> _Alone | Failure:
        """Ship a model, have it built where its runtime needs that, and measure it in a worker of its own."""
        model, stays = self._shipping.model(subject.onnx, pack=subject.pack), self._shipping.what_stays()
        if isinstance(model, Failure):
            return model
        if isinstance(stays, Failure):
            return stays
        # What must be built is built first: in a worker that measures it would stand for the model's own memory.
        alone = replace(self._alone, options=self._options_of(subject.told))
        built = alone.build(model)
        if isinstance(built, Failure):
            return built
        solo = alone.run(model, stays[1])
        return self._unless_dropped(solo) if isinstance(solo, Failure) else _Alone(built, solo)

    def _room(self, loaded: Iterable[_Alone]) -> Room:
        known = [own for own in (available_bytes(each.solo) for each in loaded) if own is not None]
        reference = Need(self._reference_memory() if known else 0, len(self._reference))
        cache = self._client.info.facts.get("cache_bytes")
        return Room(min(known, default=None), cache, reference, self._settings.most_together)

    def _reference_memory(self) -> int:
        """Return what the reference takes in a worker of its own; 0 where that fails, as its round will, and say why.

        A failure is not remembered: for one bad moment all later rounds would take more models than fit.
        """
        if self._reference_bytes is None:
            solo = _twice(self._run_reference_alone)
            self._reference_bytes = None if isinstance(solo, Failure) else memory_need(solo)
        return self._reference_bytes or 0

    def _run_reference_alone(self) -> wire.SoloResult | Failure:
        stays = self._shipping.what_stays()
        solo = stays if isinstance(stays, Failure) else self._alone.run(*stays)
        return self._unless_dropped(solo) if isinstance(solo, Failure) else solo

    def _time(self, subjects: Sequence[Subject], *, alternating: bool) -> list[Measurement | Failure]:
        """Time models beside the reference in one round, as measurements that lack what the models show alone."""
        pooled = _twice(partial(self._take_turns, subjects, alternating))
        if not isinstance(pooled, Failure):
            return [self._measurement(pooled, row) for row in range(1, len(pooled.result.models))]
        if len(subjects) > 1:
            return [self._time([own], alternating=alternating)[0] for own in subjects]
        if pooled.kind is FailureKind.OUT_OF_MEMORY and not alternating:
            return self._time(subjects, alternating=True)
        return [pooled]

    def _take_turns(self, subjects: Sequence[Subject], alternating: bool) -> Pooled | Failure:
        stays = self._shipping.what_stays()
        if isinstance(stays, Failure):
            return stays
        models = [wire.RoundModel(stays[0], self._options)]
        for own in subjects:
            model = self._shipping.model(own.onnx, pack=own.pack)
            if isinstance(model, Failure):
                return model
            models.append(wire.RoundModel(model, self._options_of(own.told)))
        pooled = self._rounds.run(models, stays[1], alternating=alternating)
        return self._unless_dropped(pooled) if isinstance(pooled, Failure) else pooled

    def _unless_dropped(self, failure: Failure) -> Failure:
        # The device may have dropped what was shipped long ago: it is shipped again before the second attempt.
        self._shipping.forget()
        return failure

    def _measurement(self, pooled: Pooled, row: int) -> Measurement:
        result, ratio = pooled.result, pooled.ratios[row - 1]
        reference, own = result.models[0], result.models[row]
        return Measurement(
            ratio=ratio,
            candidate_blocks_ns=tuple(map(tuple, own.blocks_ns)),
            reference_blocks_ns=tuple(map(tuple, reference.blocks_ns)),
            peak_rss_bytes=0,
            baseline_rss_bytes=0,
            load_ns=0,
            conditions=result.conditions,
            verdicts=judge(ratio, own.blocks_ns, pooled, self._settings),
            candidate_warmup_ns=tuple(own.warmup_ns),
            reference_warmup_ns=tuple(reference.warmup_ns),
            period_ns=self._settings.period_ns,
            missed_periods=result.missed_periods,
            sampling=pooled.sampling,
        )


def _with_alone(timed: Measurement, alone: _Alone) -> Measurement:
    solo, conditions = alone.solo, {**timed.conditions, "solo": alone.solo.conditions}
    if alone.built.conditions:
        conditions["build"] = alone.built.conditions
    return replace(
        timed,
        peak_rss_bytes=solo.peak_rss_bytes,
        baseline_rss_bytes=solo.baseline_rss_bytes,
        load_ns=solo.load_ns,
        conditions=conditions,
        alone=to_alone(alone.built, solo),
    )


def _twice(attempt: Callable[[], T | Failure]) -> T | Failure:
    """Return the outcome; a transient failure, or a blob that the device dropped meanwhile, gets a second attempt."""
    outcome = attempt()
    if isinstance(outcome, Failure) and (outcome.transient or outcome.kind is FailureKind.BLOB_MISSING):
        return attempt()
    return outcome
