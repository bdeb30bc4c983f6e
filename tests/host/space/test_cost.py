from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scbp_host.space.cost import cost
from scbp_host.space.seeds import build_seed, seed_spec


@pytest.mark.parametrize(("factory", "side"), [("resnet18", 32), ("mobilenet_v3_small", 64)])
def test_macs_are_half_of_torchs_own_flop_count(factory: str, side: int) -> None:
    module = build_seed(seed_spec(factory, 10, (3, side, side)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, side, side))
    assert cost(module, (3, side, side)).macs * 2 == counter.get_total_flops()


def test_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    found = cost(module, (3, 6, 6))
    assert found.macs == 8 * 16 * 27 + 128 * 5
    assert found.params == (8 * 27 + 8) + 16 + (128 * 5 + 5)
