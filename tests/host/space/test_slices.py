from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.coupling import Coupling
from scbp_host.space.derive import derive
from scbp_host.space.narrowing import Kept, Narrowing
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.slices import Slice, carve
from scbp_host.space.superblocks import bin_by_stage

RATIOS = (0.5, 0.75, 0.25, 1.0)


def candidate_of(factory: str) -> Candidate:
    """Return a candidate with another ratio in each superblock."""
    spec = seed_spec(factory, 10, (3, 64, 64))
    space = SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, 8)
    return space.candidate([RATIOS[index % len(RATIOS)] for index in range(len(space.superblocks))])


def trained(candidate: Candidate) -> nn.Module:
    """Return a seed whose BatchNorms are not the identity, as after training."""
    module = build_seed(candidate.seed, random_seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, tensor in module.state_dict().items():
        if "running" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module


# A residual, a concatenation, depthwise convolutions with squeeze-and-excitation, and a flattened feature map.
@pytest.mark.parametrize("factory", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "alexnet"])
def test_the_slices_of_the_seed_are_the_derived_weights(factory: str) -> None:
    candidate = candidate_of(factory)
    source = trained(candidate)
    derived, carving = derive(candidate, source).state_dict(), carve(candidate, source)
    whole = source.state_dict()
    assert carving.slices.keys() == derived.keys() == whole.keys()
    for name, expected in derived.items():
        torch.testing.assert_close(carving.slices[name](whole[name]), expected, rtol=0, atol=0)
        torch.testing.assert_close(carving.module.state_dict()[name], expected, rtol=0, atol=0)


def test_carving_leaves_the_seed_as_it_is() -> None:
    candidate = candidate_of("resnet18")
    source = trained(candidate)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    carve(candidate, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.state_dict().items())


def test_the_slices_hold_for_the_seed_after_it_changed() -> None:
    """What the seed learns later must not change which channels a candidate has."""
    candidate = candidate_of("resnet18")
    source = trained(candidate)
    parts = carve(candidate, source).slices
    later = {name: tensor + 1.0 for name, tensor in source.state_dict().items() if tensor.is_floating_point()}
    for name, expected in derive(candidate, source).state_dict().items():
        if name in later:
            torch.testing.assert_close(parts[name](later[name]), expected + 1.0)


def test_a_gradient_through_a_slice_reaches_the_entries_kept_and_no_other() -> None:
    candidate = candidate_of("resnet18")
    source = trained(candidate)
    parameter = source.get_parameter("layer1.0.conv1.weight")
    kept = carve(candidate, source).slices["layer1.0.conv1.weight"](parameter)
    kept.sum().backward()
    assert 0 < kept.numel() < parameter.numel()
    assert parameter.grad is not None
    assert parameter.grad.sum() == kept.numel()
    assert torch.equal(parameter[parameter.grad > 0], kept.flatten())


def test_a_blank_is_zero_and_has_no_gradient() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_()
    part = Slice((None, torch.tensor([2, -1])))(tensor)
    assert part.tolist() == [[2.0, 0.0], [5.0, 0.0]]
    part.sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("factory", ["resnet18", "shufflenet_v2_x0_5", "resnext50_32x4d"])
def test_a_part_whose_channels_do_not_belong_together_is_an_error_never_a_wrong_network(
    factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let one tensor keep its channels in another order than what it is coupled to."""
    candidate = candidate_of(factory)
    source = trained(candidate)
    right = Narrowing.kept

    def shifted(self: Narrowing, narrow: Coupling, scores: NDArray[np.float64]) -> Kept:
        kept = dict(right(self, narrow, scores))
        axis = next(axis for axis, own in reversed(kept.items()) if len(own) > 1 and axis[0].endswith("running_var"))
        return {**kept, axis: np.roll(kept[axis], 1)}

    monkeypatch.setattr(Narrowing, "kept", shifted)
    with pytest.raises(ModelError, match="channels meet that do not meet in the seed"):
        carve(candidate, source)


def test_a_width_that_the_seed_does_not_have_is_refused() -> None:
    candidate = candidate_of("resnet18")
    source = trained(candidate)
    wrong = Candidate(candidate.seed, candidate.ratios, (("conv1", 65),))
    with pytest.raises(ModelError, match=r"conv1.*from 1 to 64, got 65"):
        carve(wrong, source)
