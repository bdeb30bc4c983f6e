from __future__ import annotations

import warnings

import pytest
import torch
import torch_pruning
from torch import nn

from scbp_host.errors import ModelError
from scbp_host.space.coupling import couple, coupled_groups
from scbp_host.space.seeds import build_seed, seed_spec

SHAPE = (3, 16, 16)


def by_depgraph(module: nn.Module, shape: tuple[int, int, int]) -> set[frozenset[str]]:
    """Return the sets of convolutions that torch-pruning removes output channels from together."""
    graph = torch_pruning.DependencyGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph.build_dependency(module, torch.zeros(1, *shape))
    names = {layer: name for name, layer in module.named_modules()}
    found = set()
    for conv in (own for own in names if isinstance(own, nn.Conv2d)):
        group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, list(range(conv.out_channels)))
        members = {dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)}
        found.add(frozenset(names[own] for own in members if isinstance(own, nn.Conv2d)))
    return found


@pytest.mark.parametrize(
    ("factory", "side"), [("resnet18", 32), ("mobilenet_v3_small", 64), ("squeezenet1_1", 64), ("vgg11", 32)]
)
def test_torch_pruning_finds_the_same_groups(factory: str, side: int) -> None:
    module = build_seed(seed_spec(factory, 10, (3, side, side)), random_seed=0)
    ours = {frozenset(located.group.layers) for located in coupled_groups(module, (3, side, side))}
    # What the network puts out is a group to torch-pruning, and none to us.
    assert {own for own in by_depgraph(module, (3, side, side)) if own != {"classifier.1"}} == ours


class Net(nn.Module):
    """A stem, something in the middle, and a classifier."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Linear(channels, 5)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x)  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


def groups(module: nn.Module) -> list[tuple[str, ...]]:
    return [located.group.layers for located in coupled_groups(module.eval(), SHAPE)]


def test_a_chain_has_a_group_for_each_convolution() -> None:
    assert groups(Net()) == [("stem",), ("second",)]


def test_a_residual_makes_one_group_of_two() -> None:
    class Residual(Net):
        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.second(x)

    assert groups(Residual()) == [("stem", "second")]


def test_an_addition_of_the_image_fixes_what_it_meets() -> None:
    class Image(Net):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(16, 3, 3, padding=1)
            self.third = nn.Conv2d(3, 16, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.third(x + self.second(self.stem(x))).mean((2, 3)))  # type: ignore[no-any-return]

    assert groups(Image()) == [("stem",), ("third",)]


def test_a_mask_over_all_channels_ties_none_of_them() -> None:
    class Spatial(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mask = nn.Conv2d(2, 1, 3, padding=1)

        def middle(self, x: torch.Tensor) -> torch.Tensor:
            pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
            return self.second(x * self.mask(pooled).sigmoid())  # type: ignore[no-any-return]

    assert groups(Spatial()) == [("stem",), ("second",)]


def test_a_scale_for_each_channel_follows_in_any_shape() -> None:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(16))

        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(x * self.scale.view(1, -1, 1, 1))  # type: ignore[no-any-return]

    coupling = couple(Scaled().eval(), SHAPE)
    assert (coupling.classes_of(("scale", 0)) == coupling.classes_of(("stem.weight", 0))).all()
    assert groups(Scaled()) == [("stem",), ("second",)]


def test_a_convolution_used_twice_couples_both_uses() -> None:
    class Shared(Net):
        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.second(x))  # type: ignore[no-any-return]

    assert groups(Shared()) == [("stem", "second")]


def test_halves_of_a_channel_axis_shrink_in_proportion() -> None:
    class Split(Net):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(8, 8, 3, padding=1)

        def middle(self, x: torch.Tensor) -> torch.Tensor:
            kept, changed = x.chunk(2, dim=1)
            return torch.cat([kept, changed + self.second(changed)], dim=1)

    (located,) = coupled_groups(Split().eval(), SHAPE)
    assert located.group.layers == ("stem", "second")
    assert (located.group.channels, located.group.other_widths) == (16, (8,))
    assert located.group.width_step(8) == 16


def test_what_is_split_apart_behind_a_shuffle_shrinks_in_proportion() -> None:
    """Each unit passes half of what all units before it made: with free widths, halves would be other channels."""
    module = build_seed(seed_spec("shufflenet_v2_x0_5", 10, (3, 64, 64)), random_seed=0)
    groups = {located.group.name: located.group for located in coupled_groups(module, (3, 64, 64))}
    made = {f"stage2.{unit}.branch2.5" for unit in range(4)}
    assert made < set(groups["stage2.0.branch1.2"].layers)


def test_a_pixel_shuffle_takes_four_channels_for_one() -> None:
    class Upscale(Net):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(16, 64, 3, padding=1)

        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.pixel_shuffle(self.second(x), 2) + nn.functional.interpolate(x, scale_factor=2)

    (located,) = coupled_groups(Upscale().eval(), SHAPE)
    assert (located.group.name, located.group.channels, located.group.other_widths) == ("stem", 16, (64,))
    assert located.group.width_step(8) == 8


def test_a_grouped_convolution_loses_whole_groups_and_one_of_few_groups_channels_of_each() -> None:
    class Grouped(Net):
        def __init__(self, number: int) -> None:
            super().__init__(32)
            self.second = nn.Conv2d(32, 32, 3, padding=1, groups=number)

    (many,) = coupled_groups(Grouped(8).eval(), SHAPE)
    assert (many.group.layers, many.group.unit, many.group.width_step(8)) == (("stem", "second"), 4, 8)
    few = [located.group for located in coupled_groups(Grouped(2).eval(), SHAPE)]
    assert [(group.name, group.unit, group.other_widths) for group in few] == [
        ("stem", 2, (16,)),
        ("second", 2, (16,)),
    ]
    assert few[0].width_step(8) == 16  # 8 channels for each group


def test_an_unknown_operator_keeps_what_enters_it_and_leaves_the_rest() -> None:
    class Attention(Net):
        def middle(self, x: torch.Tensor) -> torch.Tensor:
            pixels = self.second(x).flatten(2)
            return (torch.bmm(pixels, pixels.transpose(1, 2)) @ pixels).unflatten(2, x.shape[2:])

    assert groups(Attention()) == [("stem",)]
    assert couple(Attention().eval(), SHAPE).found.frozen == {"": "what bmm does to channels is not known"}


def test_a_network_without_any_free_channel_is_an_error_that_names_the_reason() -> None:
    class Sorted(Net):
        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(x.sort(dim=1).values).cumsum(1)

    with pytest.raises(ModelError, match=r"Sorted: has no convolution .*'the network': what sort does to channels"):
        coupled_groups(Sorted().eval(), SHAPE)


def test_a_forward_pass_that_fails_names_the_layer() -> None:
    class Broken(Net):
        def middle(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(x[:, :8])  # type: ignore[no-any-return]

    with pytest.raises(ModelError, match=r"Broken: layer 'second' cannot run an input of shape \(3, 16, 16\)"):
        coupled_groups(Broken().eval(), SHAPE)
