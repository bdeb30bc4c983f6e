from __future__ import annotations

import pytest
from torch import nn

from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage


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
