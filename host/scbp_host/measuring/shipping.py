"""Bringing models and inputs onto a device, and what of them stays there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scbp_agent import wire
from scbp_host.device.client import DeviceClient
from scbp_host.domain.device_model import ToDeviceModel
from scbp_host.domain.outcome import Failure

Float32Array = NDArray[np.float32]

# Converted models that are kept, so that a round of several converts none of them twice.
KEPT = 4


class Shipping:
    """Ships models and arrays to one device.

    Args:
        client: a connected device.
        convert: makes of an ONNX file what the device's runtime loads.
        reference: the ONNX of what every model is measured beside.
        inputs: ``(n, channels, height, width)`` float32 to time with; None means that the agent makes noise.
        prepare: has the device make ready the reference once it is there; a Failure is the outcome.
        pack_reference: whether the reference is compressed for the way.
    """

    def __init__(
        self,
        client: DeviceClient,
        convert: ToDeviceModel,
        reference: bytes,
        inputs: Float32Array | None,
        prepare: Callable[[wire.ModelRef], object | Failure],
        *,
        pack_reference: bool,
    ) -> None:
        self._client = client
        # A model that answers a thousand images is shipped, or found there, again and again.
        self._convert = lru_cache(maxsize=KEPT)(convert)
        self._reference = reference
        self._inputs = inputs
        self._prepare = prepare
        self._pack_reference = pack_reference
        self._stays: tuple[wire.ModelRef, wire.TensorRef | None] | None = None

    def model(self, onnx: bytes, *, pack: bool) -> wire.ModelRef | Failure:
        """Ship a model, unless it is there; raises DeviceError where the device was lost for good."""
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

    def tensor(self, array: Float32Array) -> wire.TensorRef | Failure:
        """Ship an array, unless it is there; raises DeviceError where the device was lost for good."""
        return ship_tensor(self._client, array)

    def what_stays(self) -> tuple[wire.ModelRef, wire.TensorRef | None] | Failure:
        """Ship reference and inputs once: to hash and pack them for every model would take longer than to time it."""
        if self._stays is not None:
            return self._stays
        reference = self.model(self._reference, pack=self._pack_reference)
        inputs = None if self._inputs is None else self.tensor(self._inputs)
        # The first that the device did not take is the outcome.
        if isinstance(reference, Failure):
            return reference
        if isinstance(inputs, Failure):
            return inputs
        prepared = self._prepare(reference)
        if isinstance(prepared, Failure):
            return prepared
        self._stays = reference, inputs
        return self._stays

    def forget(self) -> None:
        """Ship reference and inputs anew the next time: the device may have dropped what was shipped long ago."""
        self._stays = None

    def wire_bytes(self, onnx: bytes) -> int | None:
        """Return how many bytes this model is on the wire, sent or found there; None where it was never shipped."""
        model = self._convert(onnx)
        if isinstance(model, Failure):
            return None
        sizes = [self._client.wire_bytes(hashlib.sha256(content).hexdigest()) for content in model.files.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def ship_tensor(client: DeviceClient, array: Float32Array) -> wire.TensorRef | Failure:
    """Ship an array, unless it is there; raises DeviceError where the device was lost for good."""
    sha256 = client.ship(np.ascontiguousarray(array, dtype="<f4").tobytes(), pack=False)
    return sha256 if isinstance(sha256, Failure) else wire.TensorRef(sha256, "float32", tuple(array.shape))
