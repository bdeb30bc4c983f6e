"""Measuring one model after the other on one device, each beside the same reference."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.device_model import ToDeviceModel, as_onnx
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ProtocolError
from scbp_host.measuring.alone import AloneBench, to_alone
from scbp_host.measuring.paired import latency_ratio
from scbp_host.measuring.settings import MeasureSettings as MeasureSettings
from scbp_host.measuring.stability import stability_warnings, timing_warnings

T = TypeVar("T")
Float32Array = NDArray[np.float32]
Settings = Mapping[str, Any]
NOTHING: Settings = MappingProxyType({})

# Inputs of one request, so that its reply stays a line of bounded length.
INFER_SLICE = 512


@dataclass(frozen=True)
class DeviceOutputs:
    """What the device computed.

    Attributes:
        outputs: ``(n, ...)`` float32, the model's first output for each input.
        max_abs_difference: largest absolute difference from what was expected, over all elements.
        max_abs_expected: largest absolute value expected; the scale of the difference.
    """

    outputs: Float32Array
    max_abs_difference: float
    max_abs_expected: float


@dataclass(frozen=True)
class _Pair:
    """A timed pair, and what of it lies on the device."""

    result: wire.PairedResult
    model: wire.ModelRef
    inputs: wire.TensorRef | None


class MeasuringSession:
    """Measures models on one device.

    Args:
        client: a connected device.
        settings: how long to measure.
        options: runtime, threads and settings of the reference, e.g. those of the client's profile.
        reference: the seed's ONNX, which every model is paired with.
        inputs: ``(n, channels, height, width)`` float32, cycled through while timing; None means seeded noise.
        random_seed: of the bootstrap.
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
        random_seed: int,
        *,
        pack_reference: bool = False,
        convert: ToDeviceModel = as_onnx,
    ) -> None:
        self._client = client
        self._settings = settings
        self._options = options
        self._reference = reference
        self._pack_reference = pack_reference
        # The last one is kept: a model that answers a thousand images is shipped, or found there, again and again.
        self._convert = lru_cache(maxsize=1)(convert)
        self._inputs = inputs
        self._random_seed = random_seed
        self._alone = AloneBench(client, settings, options)
        self._stays: tuple[wire.ModelRef, wire.TensorRef | None] | None = None

    def measure(self, onnx: bytes, *, pack: bool, told: Settings = NOTHING) -> Measurement | Failure:
        """Measure one model beside the reference, and alone; a transient failure is tried once more.

        Args:
            onnx: the model, self-contained.
            pack: whether to compress it for the way; for filler weights.
            told: the runtime's settings for this model, where they differ from the reference's.

        Raises:
            DeviceError: the device was lost for good.
        """
        return _twice(partial(self._measure, onnx, pack, self._told(told)))

    def pair_again(
        self, onnx: bytes, earlier: Measurement, *, pack: bool, told: Settings = NOTHING
    ) -> Measurement | Failure:
        """Time a measured model beside the reference once more; what it showed alone stays as ``earlier`` has it.

        Raises:
            DeviceError: the device was lost for good.
        """
        outcome = _twice(partial(self._pair, onnx, pack, self._told(told)))
        if isinstance(outcome, Failure):
            return outcome
        timed = self._timed(outcome.result, earlier.peak_rss_bytes, earlier.baseline_rss_bytes, earlier.load_ns)
        conditions = {**timed.conditions, "solo": earlier.conditions.get("solo")}
        return replace(timed, conditions=conditions, alone=earlier.alone)

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
        slices: list[DeviceOutputs] = []
        for start in range(0, len(inputs), INFER_SLICE):
            part = slice(start, start + INFER_SLICE)
            outputs = _twice(partial(self._infer, onnx, inputs[part], expected[part], self._told(told)))
            if isinstance(outputs, Failure):
                return outputs
            slices.append(outputs)
        return DeviceOutputs(
            np.concatenate([outputs.outputs for outputs in slices]),
            max(outputs.max_abs_difference for outputs in slices),
            max(outputs.max_abs_expected for outputs in slices),
        )

    def _told(self, told: Settings) -> wire.RuntimeOptions:
        return self._options._replace(settings={**self._options.settings, **told})

    def wire_bytes(self, onnx: bytes) -> int | None:
        """Return how many bytes this model is on the wire, sent or found there; None where it was never shipped."""
        model = self._convert(onnx)
        if isinstance(model, Failure):
            return None
        sizes = [self._client.wire_bytes(hashlib.sha256(content).hexdigest()) for content in model.files.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def _measure(self, onnx: bytes, pack: bool, options: wire.RuntimeOptions) -> Measurement | Failure:
        # What must be built is built first: in a worker that measures it would stand for the model's own memory.
        alone = replace(self._alone, options=options)
        built = self._ship_and_build(onnx, pack, alone)
        if isinstance(built, Failure):
            return built
        outcome = self._pair(onnx, pack, options)
        if isinstance(outcome, Failure):
            return outcome
        solo = alone.run(outcome.model, outcome.inputs)
        if isinstance(solo, Failure):
            return solo
        timed = self._timed(outcome.result, solo.peak_rss_bytes, solo.baseline_rss_bytes, solo.load_ns)
        conditions = {**timed.conditions, "solo": solo.conditions}
        if built.conditions:
            conditions["build"] = built.conditions
        return replace(timed, conditions=conditions, alone=to_alone(built, solo))

    def _ship_and_build(self, onnx: bytes, pack: bool, alone: AloneBench) -> wire.BuildResult | Failure:
        model = self._ship_model(onnx, pack)
        return model if isinstance(model, Failure) else alone.build(model)

    def _pair(self, onnx: bytes, pack: bool, options: wire.RuntimeOptions) -> _Pair | Failure:
        """Ship what is needed and time the pair."""
        model = self._ship_model(onnx, pack)
        reference, inputs = self._ship_what_stays()
        # Each is needed by the plans; the first that the device did not take is the outcome.
        if isinstance(model, Failure):
            return model
        if isinstance(reference, Failure):
            return reference
        if isinstance(inputs, Failure):
            return inputs
        paired = self._client.measure_paired(self._paired_plan(model, options, reference, inputs))
        if isinstance(paired, Failure):
            # The device may have dropped what was shipped long ago: it is shipped again before the second attempt.
            self._stays = None
            return paired
        return _Pair(paired, model, inputs)

    def _ship_what_stays(self) -> tuple[wire.ModelRef | Failure, wire.TensorRef | Failure | None]:
        """Ship reference and inputs once: to hash and pack them for every model would take longer than to time it."""
        if self._stays is None:
            reference = self._ship_model(self._reference, self._pack_reference)
            inputs = None if self._inputs is None else self._ship_tensor(self._inputs)
            if isinstance(reference, Failure) or isinstance(inputs, Failure):
                return reference, inputs
            built = self._alone.build(reference)
            if isinstance(built, Failure):
                return built, inputs
            self._stays = reference, inputs
        return self._stays

    def _paired_plan(
        self,
        candidate: wire.ModelRef,
        options: wire.RuntimeOptions,
        reference: wire.ModelRef,
        inputs: wire.TensorRef | None,
    ) -> wire.PairedPlan:
        settings = self._settings
        return wire.PairedPlan(
            candidate,
            reference,
            options,
            inputs,
            settings.loads,
            settings.blocks,
            round(settings.block_s * 1e9),
            round(settings.warmup_s * 1e9),
            settings.paired_timeout_s,
            warmup_limit_ns=round(settings.warmup_limit_s * 1e9),
            period_ns=settings.period_ns,
            memory_limit_bytes=settings.memory_limit_bytes,
            reference_options=self._options,
        )

    def _timed(
        self, paired: wire.PairedResult, peak_rss_bytes: int, baseline_rss_bytes: int, load_ns: int
    ) -> Measurement:
        candidate, reference = paired.candidate_blocks_ns, paired.reference_blocks_ns
        ratio = latency_ratio(candidate, reference, self._random_seed, loads=self._settings.loads)
        return Measurement(
            ratio=ratio,
            candidate_blocks_ns=tuple(tuple(block) for block in candidate),
            reference_blocks_ns=tuple(tuple(block) for block in reference),
            peak_rss_bytes=peak_rss_bytes,
            baseline_rss_bytes=baseline_rss_bytes,
            load_ns=load_ns,
            conditions=paired.conditions,
            warnings=(*stability_warnings(ratio, candidate, paired.conditions), *self._timing_warnings(paired)),
            candidate_warmup_ns=tuple(paired.candidate_warmup_ns),
            reference_warmup_ns=tuple(paired.reference_warmup_ns),
            period_ns=self._settings.period_ns,
            missed_periods=paired.missed_periods,
        )

    def _timing_warnings(self, paired: wire.PairedResult) -> tuple[str, ...]:
        frames = sum(len(block) for block in (*paired.candidate_blocks_ns, *paired.reference_blocks_ns))
        return timing_warnings(paired.unsteady_warmups, 2 * self._settings.loads, paired.missed_periods or 0, frames)

    def _infer(
        self, onnx: bytes, inputs: Float32Array, expected: Float32Array, options: wire.RuntimeOptions
    ) -> DeviceOutputs | Failure:
        model, sent, wanted = self._ship_model(onnx, False), self._ship_tensor(inputs), self._ship_tensor(expected)
        if isinstance(model, Failure):
            return model
        if isinstance(sent, Failure):
            return sent
        if isinstance(wanted, Failure):
            return wanted
        plan = wire.InferPlan(
            model, options, sent, wanted, self._settings.infer_timeout_s, self._settings.memory_limit_bytes
        )
        result = self._client.infer(plan)
        return result if isinstance(result, Failure) else self._device_outputs(result)

    def _device_outputs(self, result: wire.InferResult) -> DeviceOutputs:
        if result.dtype != "float32" or result.max_abs_difference is None or result.max_abs_expected is None:
            raise ProtocolError(
                f"{self._client.profile.name}: infer: expected float32 and a comparison, got {result[:2]}"
            )
        outputs = np.frombuffer(base64.b64decode(result.data_base64, validate=True), "<f4").reshape(result.shape)
        return DeviceOutputs(outputs, result.max_abs_difference, result.max_abs_expected)

    def _ship_model(self, onnx: bytes, pack: bool) -> wire.ModelRef | Failure:
        model = self._convert(onnx)
        if isinstance(model, Failure):
            return model
        blobs: dict[str, str] = {}
        for role, content in model.files.items():
            sha256 = self._client.ship(content, pack=pack)
            if isinstance(sha256, Failure):
                return sha256
            blobs[role] = sha256
        return wire.ModelRef(model.format, blobs)

    def _ship_tensor(self, array: Float32Array) -> wire.TensorRef | Failure:
        sha256 = self._client.ship(np.ascontiguousarray(array, dtype="<f4").tobytes(), pack=False)
        return sha256 if isinstance(sha256, Failure) else wire.TensorRef(sha256, "float32", tuple(array.shape))


def _twice(attempt: Callable[[], T | Failure]) -> T | Failure:
    """Return the outcome; a transient failure, or a blob that the device dropped meanwhile, gets a second attempt."""
    outcome = attempt()
    if isinstance(outcome, Failure) and (outcome.transient or outcome.kind is FailureKind.BLOB_MISSING):
        return attempt()
    return outcome
