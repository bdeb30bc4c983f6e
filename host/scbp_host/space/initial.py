"""A candidate with fresh weights: what the paper trains, and the control for inheriting."""

from __future__ import annotations

import math

import torch
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.space.derive import derive
from scbp_host.space.seeds import build_seed


def from_scratch(candidate: Candidate, random_seed: int) -> nn.Module:
    """Build the candidate's network with the initial weights its factory would draw.

    The factory only knows the seed's widths, so a slice of a fresh seed is taken and every convolution and linear layer
    is scaled by sqrt(seed's fan-in / own fan-in): the variance of what it puts out is then the one that the factory
    chose, whichever rule it draws by (He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 9).

    Args:
        candidate: which widths.
        random_seed: decides the weights.

    Returns:
        a module in eval mode on the CPU.

    Raises:
        ModelError: as :func:`scbp_host.space.derive.derive` does.
    """
    seed = build_seed(candidate.seed, random_seed)
    fans = _fans_in(seed)
    # Without scores, a slice by position: what an importance keeps of random weights is not random any more.
    module = derive(candidate, seed, scores={})
    with torch.no_grad():
        for name, fan_in in _fans_in(module).items():
            weight = module.get_parameter(f"{name}.weight")
            weight.mul_(math.sqrt(fans[name] / fan_in))
    return module


def _fans_in(module: nn.Module) -> dict[str, int]:
    return {
        name: layer.weight[0].numel()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
