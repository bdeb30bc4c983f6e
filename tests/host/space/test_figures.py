"""Parameters and MACs from the table are those of the network, built and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scbp_host.space.cost import Cost, cost
from scbp_host.space.derive import derive
from scbp_host.space.figures import CostTable, LayerWork, structure_figures
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage

RATIOS = (1.0, 0.75, 0.5, 0.3)


def space(model: str, side: int) -> SearchSpace:
    spec = seed_spec(model, 10, (3, side, side))
    return SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, 8)


OWN = """
import torch
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding=1)
        self.up = nn.ConvTranspose2d(32, 32, 2, stride=2)
        self.depthwise = nn.Parameter(torch.randn(32, 1, 3, 3))
        self.query, self.value = nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1)
        self.last = nn.Linear(32, num_classes)

    def forward(self, x):
        x = self.twice(self.twice(self.stem(x)))
        x = functional.conv2d(x, self.depthwise, groups=len(self.depthwise))
        x = self.up(self.value(x))
        query = self.query(x).flatten(2)
        x = query @ query.transpose(1, 2) @ query
        return self.last(x.mean(2))
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer called twice, a transposed convolution, a depthwise one without a module, products of feature maps."""
    (tmp_path / "counted_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("squeezenet1_1", 64),
        ("regnet_y_400mf", 32),
        ("vgg11", 32),
        ("counted_net:Net", 16),
    ],
)
def test_figures_are_those_of_the_network(model: str, side: int) -> None:
    own = space(model, side)
    table = structure_figures(own.seed, own.superblocks, own.channel_step)
    for candidate in [own.candidate((1.0,) * len(own.superblocks)), *own.sample(1, 0)]:
        counted = cost(derive(candidate), own.seed.input_shape)
        assert Cost(int(table["params"](candidate.ratios)), int(table["macs"](candidate.ratios))) == counted


def test_work_of_layers_follows_the_superblocks_widths() -> None:
    own = space("resnet18", 32)
    groups = [group for block in own.superblocks for group in block.groups]
    table = CostTable(own.seed, groups)
    blocks = len(own.superblocks)
    macs, numbers = LayerWork(table, own.superblocks).of(np.asarray([[1.0] * blocks, [0.5] * blocks]))
    assert macs[0].sum() == table.cost([group.channels for group in groups]).macs
    assert macs[1].sum() == table.cost([group.channels // 2 for group in groups]).macs
    # All weights are read, and all outputs come on top.
    assert (numbers.sum(axis=1) > [table.cost([g.channels // n for g in groups]).params for n in (1, 2)]).all()
    first = macs[:, 0]
    assert first[1] == first[0] / 2, "the image has three channels, whatever is cut"
