"""Where a training runs, and how modules lie there."""

from __future__ import annotations

import torch
from torch import nn


def training_device() -> torch.device:
    """Return the first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return ``cpu``, or the CUDA device's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def placed(module: nn.Module, device: torch.device) -> nn.Module:
    """Move ``module`` to ``device``, in channels_last.

    Convolutions over NHWC are faster on tensor cores, and a little on the CPU too.
    """
    return module.to(device).to(memory_format=torch.channels_last)


def returned(module: nn.Module) -> nn.Module:
    """Bring ``module`` back to the CPU, contiguous and in eval mode.

    Not left in channels_last: another memory layout sums in another order, and a rebuilt module would differ.
    """
    return module.cpu().to(memory_format=torch.contiguous_format).eval()


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return what to compute in: bfloat16 where a GPU has it in hardware, else float16; None on the CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def free_bytes(device: torch.device) -> float:
    """Return the memory left on ``device``; without bound on the CPU, where data need not be copied to."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else float("inf")
