"""Parameters and MACs from the table are those of the network, built and counted."""

from __future__ import annotations

import pytest

from scbp_host.space.cost import Cost, cost
from scbp_host.space.derive import derive
from scbp_host.space.figures import structure_figures
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage

RATIOS = (1.0, 0.75, 0.5, 0.3)


def space(model: str, side: int) -> SearchSpace:
    spec = seed_spec(model, 10, (3, side, side))
    return SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, 8)


@pytest.mark.parametrize(
    ("model", "side"),
    [("resnet18", 32), ("mobilenet_v3_small", 32), ("squeezenet1_1", 64), ("regnet_y_400mf", 32), ("vgg11", 32)],
)
def test_figures_are_those_of_the_network(model: str, side: int) -> None:
    own = space(model, side)
    table = structure_figures(own.seed, own.superblocks, own.channel_step)
    for candidate in [own.candidate((1.0,) * len(own.superblocks)), *own.sample(1, 0)]:
        counted = cost(derive(candidate), own.seed.input_shape)
        assert Cost(int(table["params"](candidate.ratios)), int(table["macs"](candidate.ratios))) == counted
