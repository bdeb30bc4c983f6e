from __future__ import annotations

import pytest
import torch

from scbp_host.space.initial import from_scratch
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage

# No BatchNorm: nothing mends a wrong scale afterwards.
SPEC = seed_spec("squeezenet1_1", 10, (3, 64, 64))


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.uniform(SPEC, bin_by_stage(SPEC), (1.0, 0.25), 8)


def test_fresh_weights_have_the_candidates_widths_and_depend_on_the_random_seed(space: SearchSpace) -> None:
    candidate = space.candidate((0.25,) * len(space.superblocks))
    module = from_scratch(candidate, 3)
    for name, width in candidate.widths:
        assert len(module.get_parameter(f"{name}.weight")) == width
    first, again, other = (
        own.get_parameter("features.0.weight")
        for own in (module, from_scratch(candidate, 3), from_scratch(candidate, 4))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_layer_puts_out_as_much_as_the_factory_meant_it_to(space: SearchSpace) -> None:
    """A quarter of the inputs at their old size would halve the deviation, layer after layer."""
    seed, module = build_seed(SPEC, 0), from_scratch(space.candidate((0.25,) * len(space.superblocks)), 0)
    for name in ("features.3.expand3x3", "features.7.squeeze", "features.12.expand1x1"):
        old, new = seed.get_parameter(f"{name}.weight"), module.get_parameter(f"{name}.weight")
        gain = [own.detach().std() * own[0].numel() ** 0.5 for own in (old, new)]
        assert float(gain[1] / gain[0]) == pytest.approx(1.0, abs=0.03), name


def test_ratio_one_everywhere_is_the_factorys_own_network(space: SearchSpace) -> None:
    module, seed = from_scratch(space.candidate((1.0,) * len(space.superblocks)), 7), build_seed(SPEC, 7)
    assert all(torch.equal(own, seed.state_dict()[name]) for name, own in module.state_dict().items())
