from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scbp_host.errors import UsageError
from scbp_host.space.cost import cost
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import Binning, bin_by_stage, bin_layers
from scbp_host.space.survey import Survey, survey_seed


def test_resnet18_has_four_superblocks_with_the_stem_in_the_first() -> None:
    blocks = bin_by_stage(seed_spec("resnet18", 10, (3, 32, 32)))
    assert [(block.name, block.resolution) for block in blocks] == [
        ("stage-8x8", (8, 8)),
        ("stage-4x4", (4, 4)),
        ("stage-2x2", (2, 2)),
        ("stage-1x1", (1, 1)),
    ]
    assert [[(group.name, group.channels) for group in block.groups] for block in blocks] == [
        [("conv1", 64), ("layer1.0.conv1", 64), ("layer1.1.conv1", 64)],
        [("layer2.0.conv1", 128), ("layer2.0.conv2", 128), ("layer2.1.conv1", 128)],
        [("layer3.0.conv1", 256), ("layer3.0.conv2", 256), ("layer3.1.conv1", 256)],
        [("layer4.0.conv1", 512), ("layer4.0.conv2", 512), ("layer4.1.conv1", 512)],
    ]
    assert blocks[0].groups[0].layers == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    assert blocks[1].groups[1].layers == ("layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2")


@pytest.mark.parametrize(("factory", "side"), [("resnet18", 32), ("mobilenet_v3_small", 64), ("vgg11_bn", 32)])
def test_every_convolution_is_in_exactly_one_superblock(factory: str, side: int) -> None:
    spec = seed_spec(factory, 10, (3, side, side))
    binned = [layer for block in bin_by_stage(spec) for group in block.groups for layer in group.layers]
    convs = [name for name, layer in build_seed(spec).named_modules() if isinstance(layer, nn.Conv2d)]
    assert sorted(binned) == sorted(convs)


def test_classifier_made_of_a_convolution_is_not_prunable() -> None:
    blocks = bin_by_stage(seed_spec("squeezenet1_1", 10, (3, 64, 64)))
    layers = {layer for block in blocks for group in block.groups for layer in group.layers}
    assert "features.12.expand3x3" in layers
    assert "classifier.1" not in layers


@lru_cache
def survey(factory: str, side: int = 32) -> Survey:
    return survey_seed(seed_spec(factory, 10, (3, side, side)))


def members(binning: Binning) -> list[list[str]]:
    return [[group.name for group in block.groups] for block in binning.superblocks]


@pytest.mark.parametrize("factory", ["resnet18", "mobilenet_v3_small", "densenet121"])
@settings(deadline=None)
@given(data=st.data())
def test_equal_shares_have_every_group_once_in_forward_order(factory: str, data: st.DataObject) -> None:
    seed = survey(factory)
    count = data.draw(st.integers(1, len(seed.groups)))
    unit: Literal["params", "macs"] = data.draw(st.sampled_from(["params", "macs"]))
    binning = bin_layers(seed, unit, count)
    assert [own for block in members(binning) for own in block] == [own.group.name for own in seed.groups]
    assert [block.name for block in binning.superblocks] == [f"{unit}-{number}" for number in range(1, count + 1)]
    assert all(members(binning))


def test_measured_latency_cuts_by_itself() -> None:
    seed = survey("vgg11_bn")
    layers = [own.group.name for own in seed.groups]
    assert len(layers) == 8
    last_is_slow = dict.fromkeys(layers, 10.0) | {layers[-1]: 70.0}
    assert members(bin_layers(seed, "latency", 2, last_is_slow)) == [layers[:-1], layers[-1:]]
    assert members(bin_layers(seed, "latency", 2, dict.fromkeys(layers, 10.0))) == [layers[:4], layers[4:]]
    assert bin_layers(seed, "latency", 2, last_is_slow).moved == (), "no group has more than one layer"


def test_a_group_on_both_sides_of_a_cut_stays_whole_and_the_move_is_told() -> None:
    seed = survey("resnet18")
    in_the_middle = {"layer1.0.conv2": 50.0, "layer1.1.conv2": 50.0}
    binning = bin_layers(seed, "latency", 2, in_the_middle)
    # conv1, layer1.0.conv2 and layer1.1.conv2 are tied; equal shares by layer would part them.
    assert members(binning)[0] == ["conv1"]
    assert binning.superblocks[0].groups[0].layers == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    (moved,) = binning.moved
    assert moved == (
        "cut 1 for equal shares of latency would be before 'layer1.1.conv1' and split 'conv1' (3 layers); "
        "it moved to before 'layer1.0.conv1'"
    )
    at_the_last = bin_layers(seed, "latency", 2, {"layer1.1.conv1": 50.0, "layer1.1.conv2": 50.0})
    assert "before 'layer1.1.conv2' and split 'conv1' (3 layers)" in at_the_last.moved[0]
    between_groups = bin_layers(seed, "latency", 2, {"layer1.1.conv2": 50.0, "layer2.0.conv1": 50.0})
    assert between_groups.moved == ()


def test_without_a_number_there_are_as_many_as_there_are_resolutions() -> None:
    assert len(bin_layers(survey("resnet18"), "macs").superblocks) == 4


def test_more_superblocks_than_groups_are_refused_with_the_most_there_can_be() -> None:
    assert len(bin_layers(survey("resnet18"), "macs", 12).superblocks) == 12
    with pytest.raises(UsageError, match="expected from 1 to 12, the number of channel groups, got 13"):
        bin_layers(survey("resnet18"), "macs", 13)


def test_a_group_of_several_resolutions_is_told() -> None:
    binning = bin_layers(survey("resnet18"), "stage")
    assert binning.superblocks == bin_by_stage(seed_spec("resnet18", 10, (3, 32, 32)))
    assert binning.moved == (
        "the layers of channel group 'conv1' put out 16x16 and 8x8; all 3 of them are in 'stage-8x8'",
    )
    assert bin_layers(survey("vgg11_bn"), "stage").moved == ()


def test_names_are_prefixes_or_globs_and_the_longest_wins() -> None:
    seed = survey("resnet18")
    binning = bin_layers(seed, {"rest": ["*"], "late": ["layer3", "layer4.*"], "one": ["layer4.1.conv1"]})
    assert [block.name for block in binning.superblocks] == ["rest", "late", "one"]
    rest, late, one = members(binning)
    assert {name.split(".")[0] for name in rest} == {"conv1", "layer1", "layer2"}
    assert {name.split(".")[0] for name in late} == {"layer3", "layer4"}
    assert one == ["layer4.1.conv1"]
    assert binning.moved == ()


def test_the_order_of_the_names_does_not_matter() -> None:
    seed = survey("resnet18")
    names = {"early": ["conv1", "layer1"], "late": ["layer*"]}
    assert bin_layers(seed, names) == bin_layers(seed, dict(reversed(names.items())))


def test_a_group_named_in_two_superblocks_goes_where_most_of_it_is_and_that_is_told() -> None:
    binning = bin_layers(survey("resnet18"), {"stem": ["conv1", "layer1.0.conv1"], "rest": ["*"]})
    assert members(binning)[1] == ["layer1.0.conv1"]
    assert binning.moved == (
        "the layers of channel group 'conv1' are named in stem and rest; all 3 of them are in 'rest'",
    )


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"a": ["layer1"], "b": ["layer9"]}, "'layer9' of superblock 'b' names no prunable layer"),
        ({"a": ["*"], "b": ["fc"]}, "'fc' of superblock 'b' names no prunable layer"),
        ({"a": ["conv1", "layer1"], "b": ["layer2"]}, "layer 'layer3.0.conv1' is in no superblock"),
        ({"a": ["conv1", "layer2"], "b": ["layer?"], "c": ["layer*"]}, "layer 'layer1.0.conv2' is in b and c alike"),
        ({"a": ["conv1"], "b": ["*"]}, "superblock 'a' is left without a channel group"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: dict[str, list[str]], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        bin_layers(survey("resnet18"), names)


@pytest.mark.parametrize(
    ("factory", "head_name"), [("resnet18", "fc"), ("mobilenet_v3_small", "classifier"), ("densenet121", "classifier")]
)
def test_every_cost_is_counted_once(factory: str, head_name: str) -> None:
    seed = survey(factory)
    whole = cost(build_seed(seed.seed), seed.seed.input_shape)
    assert (seed.params, sum(layer.macs for layer in seed.layers)) == (whole.params, whole.macs)
    assert sum(layer.params for layer in seed.layers) == whole.params
    head = sum(layer.params for layer in seed.layers if layer.name not in seed.owners)
    assert sum(seed.shares(seed.costs("params")).values()) + head == whole.params
    assert {layer.name.split(".")[0] for layer in seed.layers if layer.name not in seed.owners} == {head_name}


def test_what_follows_a_layer_is_counted_with_it() -> None:
    layers = {layer.name: layer for layer in survey("resnet18").layers}
    assert layers["conv1"].params == 64 * 3 * 7 * 7 + 2 * 64, "the convolution and its BatchNorm"
    assert layers["conv1"].macs == 16 * 16 * 64 * 3 * 7 * 7
    assert (layers["conv1"].resolution, layers["fc"].resolution) == ((16, 16), None)
