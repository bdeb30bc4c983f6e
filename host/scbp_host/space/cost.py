"""Parameters and multiply-accumulates of a module: what a paper reports, not what a device feels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Cost:
    """Size of one network.

    Attributes:
        params: learnable scalars.
        macs: multiply-accumulates of all Conv2d and Linear layers for one image (a FLOP count is twice that).
    """

    params: int
    macs: int


def cost(module: nn.Module, input_shape: tuple[int, int, int]) -> Cost:
    """Count by running one image of ``input_shape`` (channels, height, width) through ``module``, on the CPU."""
    macs = 0

    def count(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal macs
        macs += layer_macs(layer, output)

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with torch.inference_mode():
            module.eval()(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(sum(parameter.numel() for parameter in module.parameters()), macs)


def layer_macs(layer: nn.Module, output: torch.Tensor) -> int:
    """Return the multiply-accumulates of a Conv2d or Linear that put out ``output``."""
    # Every output value is a dot product over one filter: in_channels / groups * kernel area, or in_features.
    return output.numel() * int(layer.weight[0].numel())  # type: ignore[index]
