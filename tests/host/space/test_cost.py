from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import DeformConv2d

from scbp_host.errors import ModelError
from scbp_host.space.cost import cost
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.survey import layers_of


@pytest.mark.parametrize(("factory", "side"), [("resnet18", 32), ("mobilenet_v3_small", 64)])
def test_macs_are_those_of_the_layers_by_their_shapes(factory: str, side: int) -> None:
    module = build_seed(seed_spec(factory, 10, (3, side, side)))
    assert cost(module, (3, side, side)).macs == sum(layer.macs for layer in layers_of(module, (3, side, side)))


def test_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    found = cost(module, (3, 6, 6))
    assert found.macs == 8 * 16 * 27 + 128 * 5
    assert found.params == (8 * 27 + 8) + 16 + (128 * 5 + 5)


SHAPE = (8, 5, 5)


@pytest.mark.parametrize(
    ("layers", "macs"),
    [
        ([nn.Conv2d(8, 12, 3, stride=2, groups=4)], 2 * 2 * 12 * 2 * 9),
        ([nn.Conv2d(8, 8, 3, padding=1, groups=8)], 25 * 8 * 9),
        ([nn.ConvTranspose2d(8, 6, 3, stride=2)], 25 * 8 * 6 * 9),
        ([nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)], 25 * 8 * 3 * 9),
        ([nn.Flatten(2), nn.Conv1d(8, 6, 5)], 21 * 8 * 6 * 5),
        ([nn.Unflatten(1, (4, 2)), nn.Conv3d(4, 6, (2, 3, 3))], 9 * 4 * 6 * 18),
        ([nn.Linear(5, 7)], 8 * 5 * 7 * 5),
    ],
)
def test_every_kind_of_layer_by_hand(layers: list[nn.Module], macs: int) -> None:
    module = nn.Sequential(*layers)
    assert cost(module, SHAPE).macs == macs
    (layer,) = layers_of(module, SHAPE)
    assert layer.macs == macs


def test_products_of_feature_maps_count_too() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(2)
            return flat @ flat.transpose(1, 2)

    assert cost(Attention(), SHAPE).macs == 8 * 25 * 8


@pytest.mark.parametrize("layer", [nn.LSTM(5, 3), nn.Bilinear(5, 5, 2), DeformConv2d(8, 4, 3)])
def test_what_cannot_be_counted_is_refused_by_name(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(8, 8, 1), layer)
    for count in (cost, layers_of):
        with pytest.raises(ModelError, match=rf"layer '1': the multiply-accumulates of {type(layer).__name__} "):
            count(module, SHAPE)  # type: ignore[operator]
