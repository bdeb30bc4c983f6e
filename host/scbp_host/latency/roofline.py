"""What a network's latency would be if nothing but the device's peaks held it up: the model's first idea of it.

Each layer takes as long as its arithmetic at the peak rate, or its traffic at the memory's bandwidth, whichever is
longer (Williams, Waterman and Patterson, "Roofline", Communications of the ACM, 2009). Where the profile names no
peaks, arithmetic and traffic are two features, and the measurements say what each costs.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.device import Hardware
from scbp_host.latency.base import Features

Array = NDArray[np.float64]

_OPERATIONS_PER_MAC = 2
# Bytes of a number, and the profile's peak that goes with it, by the precision computed in.
_NUMBERS = {
    "fp32": (4, "peak_fp32_gflops"),
    "fp16": (2, "peak_fp16_gflops"),
    "int8": (1, "peak_int8_gops"),
    "uint8": (1, "peak_int8_gops"),
}
_ANY_OTHER = _NUMBERS["fp32"]


class Work(Protocol):
    """What the layers of a network have to do, as a function of the superblocks' widths."""

    def of(self, widths: Array) -> tuple[Array, Array]:
        """Return multiply-accumulates and numbers moved, each ``(n, n_layers)``, of ``(n, n_superblocks)`` widths."""
        ...


def roofline(work: Work, superblocks: int, hardware: Hardware, precision: str = "fp32") -> Features:
    """Return ``(n, 1)`` features, the roofline, or ``(n, 2)``, arithmetic and traffic; relative to the seed's.

    Args:
        work: of the seed's derived networks.
        superblocks: how many widths there are.
        hardware: of the device.
        precision: what it computes in.
    """
    size, peak_name = _NUMBERS.get(precision, _ANY_OTHER)
    peak_giga, bandwidth_gb_s = getattr(hardware, peak_name), hardware.bandwidth_gb_s

    def absolute(widths: Array) -> Array:
        macs, numbers = work.of(widths)
        if peak_giga is None or bandwidth_gb_s is None:
            return np.stack([macs.sum(axis=1), numbers.sum(axis=1)], axis=1)
        slower = np.maximum(_OPERATIONS_PER_MAC * macs / peak_giga, size * numbers / bandwidth_gb_s)
        total: Array = slower.sum(axis=1, keepdims=True)
        return total

    whole = absolute(np.ones((1, superblocks)))
    return lambda widths: absolute(widths) / whole
