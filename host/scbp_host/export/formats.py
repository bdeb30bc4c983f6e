"""Which form of a model each runtime loads: ONNX, or what is made from it as the last step before it travels."""

from __future__ import annotations

from collections.abc import Callable

from scbp_host.domain.device_model import ToDeviceModel, as_onnx
from scbp_host.export.ncnn import ncnn_converter

# Runtimes that do not load ONNX, and what finds their converter on this machine.
_CONVERTERS: dict[str, Callable[[], ToDeviceModel]] = {"ncnn": ncnn_converter}


def converter_for(runtime: str) -> ToDeviceModel:
    """Return what makes a model that ``runtime`` loads from an ONNX file.

    Raises:
        UsageError: this machine lacks the tool that converts; the hint is the command that installs it.
    """
    find = _CONVERTERS.get(runtime)
    return find() if find else as_onnx
