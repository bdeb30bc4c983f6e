"""What a device computes, beside what the host does."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.outcome import Failure
from scbp_host.errors import ProtocolError
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.shipping import Float32Array, Shipping

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
class InferenceBench:
    """Has a device answer.

    Attributes:
        client: a connected device.
        settings: for the limits.
        shipping: brings models and inputs there.
    """

    client: DeviceClient
    settings: MeasureSettings
    shipping: Shipping

    def run(
        self, onnx: bytes, inputs: Float32Array, expected: Float32Array, options: wire.RuntimeOptions
    ) -> DeviceOutputs | Failure:
        """Run a model over the inputs of one request.

        Args:
            onnx: the model, self-contained.
            inputs: ``(n, channels, height, width)`` float32.
            expected: ``(n, ...)`` float32, the host's outputs.
            options: of the runtime.

        Raises:
            DeviceError: the device was lost for good.
        """
        model = self.shipping.model(onnx, pack=False)
        sent, wanted = self.shipping.tensor(inputs), self.shipping.tensor(expected)
        # The first that the device did not take is the outcome.
        if isinstance(model, Failure):
            return model
        if isinstance(sent, Failure):
            return sent
        if isinstance(wanted, Failure):
            return wanted
        limits = (self.settings.infer_timeout_s, self.settings.memory_limit_bytes)
        result = self.client.infer(wire.InferPlan(model, options, sent, wanted, *limits))
        return result if isinstance(result, Failure) else self._outputs(result)

    def _outputs(self, result: wire.InferResult) -> DeviceOutputs:
        if result.dtype != "float32" or result.max_abs_difference is None or result.max_abs_expected is None:
            raise ProtocolError(
                f"{self.client.profile.name}: infer: expected float32 and a comparison, got {result[:2]}"
            )
        outputs = np.frombuffer(base64.b64decode(result.data_base64, validate=True), "<f4").reshape(result.shape)
        return DeviceOutputs(outputs, result.max_abs_difference, result.max_abs_expected)


def in_slices(infer: Callable[[slice], DeviceOutputs | Failure], count: int) -> DeviceOutputs | Failure:
    """Return what is computed for all inputs, some at a time; the first failure is the outcome.

    Args:
        infer: answers a slice of the inputs.
        count: of inputs, one at least.
    """
    slices: list[DeviceOutputs] = []
    for start in range(0, count, INFER_SLICE):
        outputs = infer(slice(start, start + INFER_SLICE))
        if isinstance(outputs, Failure):
            return outputs
        slices.append(outputs)
    return DeviceOutputs(
        np.concatenate([own.outputs for own in slices]),
        max(own.max_abs_difference for own in slices),
        max(own.max_abs_expected for own in slices),
    )
