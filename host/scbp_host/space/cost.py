"""Parameters and multiply-accumulates of a module: what a paper reports, not what a device feels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import DeformConv2d

from scbp_host.errors import ModelError

WeightedLayer = nn.modules.conv._ConvNd | nn.Linear
"""Layers that multiply what they are given by a weight: convolutions of any rank, transposed ones, and Linear."""

# torch's counter knows no operator of theirs, and would count 0.
_UNCOUNTED = nn.RNNBase | nn.Bilinear | DeformConv2d


@dataclass(frozen=True)
class Cost:
    """Size of one network.

    Attributes:
        params: learnable scalars.
        macs: multiply-accumulates of convolutions, linear layers and matrix products for one image (a FLOP count is
            twice that).
    """

    params: int
    macs: int


def cost(module: nn.Module, input_shape: tuple[int, int, int]) -> Cost:
    """Count by running one image of ``input_shape`` (channels, height, width) through ``module``, on the CPU.

    Raises:
        ModelError: it has a layer whose multiply-accumulates cannot be counted; names it.
    """
    check_countable(module)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module.eval()(torch.zeros(1, *input_shape))
    return Cost(sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() // 2)


def check_countable(module: nn.Module) -> None:
    """Raise ModelError where :func:`cost` would count too little; names the layer."""
    for name, layer in module.named_modules():
        if isinstance(layer, _UNCOUNTED):
            raise ModelError(
                f"layer {name!r}: the multiply-accumulates of {type(layer).__name__} cannot be counted, "
                "expected convolutions and linear layers"
            )


def layer_macs(layer: WeightedLayer, given: torch.Tensor, output: torch.Tensor) -> int:
    """Return the multiply-accumulates of a layer that was ``given`` one tensor and put out another.

    Each entry of the weight counts once a position: of the output, or of a transposed convolution's input.
    """
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    return positions(layer.weight, given if transposed else output) * layer.weight.numel()


def positions(weight: torch.Tensor, feature_map: torch.Tensor) -> int:
    """Return how many positions a map has whose channels are the first axis of ``weight``."""
    return feature_map.numel() // len(weight)
