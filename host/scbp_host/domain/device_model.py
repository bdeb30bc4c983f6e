"""A model in the form that a device's runtime loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scbp_host.domain.outcome import Failure


@dataclass(frozen=True)
class DeviceModel:
    """The files that travel.

    Attributes:
        format: as the agent names it, e.g. ``onnx``.
        files: the content of each of the format's roles, e.g. ``{"model": ...}``.
    """

    format: str
    files: Mapping[str, bytes]


# What makes it from a self-contained ONNX file with a static batch of 1; where it cannot, why, with EXPORT_FAILED.
ToDeviceModel = Callable[[bytes], DeviceModel | Failure]


def as_onnx(onnx: bytes) -> DeviceModel:
    """Return the ONNX file as it is, for runtimes that load ONNX."""
    return DeviceModel("onnx", {"model": onnx})
