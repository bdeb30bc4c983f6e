from __future__ import annotations

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from scbp_host.config import Importance
from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError, UnknownNameError
from scbp_host.space.derive import derive
from scbp_host.space.importance import CRITERIA, Batch, channel_scores, kept_shares
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage

SPEC = seed_spec("resnet18", 10, (3, 32, 32))
# A group of one convolution, between two others of its block.
NAME, CHANNELS = "layer4.1.conv1", 512
SILENT = torch.arange(100, CHANNELS)


@pytest.fixture
def source() -> nn.Module:
    """A seed whose BatchNorms are not the identity, as after training."""
    module = build_seed(SPEC, random_seed=1)
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data = 0.5 + torch.rand(layer.num_features, generator=generator)
            layer.running_var = 0.5 + torch.rand(layer.num_features, generator=generator)
    return module


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    random = np.random.default_rng(0)
    return [
        (random.standard_normal((8, 3, 32, 32)).astype(np.float32), random.integers(0, 10, 8, dtype=np.int64))
        for _ in range(2)
    ]


def parameter(module: nn.Module, name: str) -> torch.Tensor:
    return module.get_parameter(name).data


def test_the_configuration_offers_every_criterion() -> None:
    assert set(get_args(Importance)) == set(CRITERIA)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_group_gets_a_score_for_each_channel_and_the_source_stays(
    source: nn.Module, batches: list[Batch], criterion: str
) -> None:
    before = copy.deepcopy(source.state_dict())
    scores = channel_scores(source, SPEC, criterion, batches)
    groups = [group for block in bin_by_stage(SPEC) for group in block.groups]
    assert {name: own.shape for name, own in scores.items()} == {group.name: (group.channels,) for group in groups}
    assert all(np.isfinite(own).all() and own.std() > 0 for own in scores.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items())
    assert all(own.grad is None for own in source.parameters())


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"random"}))
def test_channels_that_do_nothing_score_lowest(source: nn.Module, batches: list[Batch], criterion: str) -> None:
    for name in (f"{NAME}.weight", "layer4.1.bn1.weight", "layer4.1.bn1.bias"):
        parameter(source, name)[SILENT] = 0.0
    parameter(source, "layer4.1.conv2.weight")[:, SILENT] = 0.0
    scores = channel_scores(source, SPEC, criterion, batches)[NAME]
    # A ReLU may shut a channel for every image of so few: then it does nothing either.
    assert scores[100:].max() <= scores[:100].min()
    assert scores[100:].max() < np.median(scores[:100])


def test_l1_sums_absolute_values_and_l2_squares(source: nn.Module) -> None:
    """A hundred weights of 1 outweigh one of 20 by the sum, and are outweighed by the sum of squares."""
    for name in (f"{NAME}.weight", "layer4.1.bn1.weight", "layer4.1.conv2.weight"):
        parameter(source, name).zero_()
    parameter(source, f"{NAME}.weight")[0, :100, 0, 0] = 1.0
    parameter(source, f"{NAME}.weight")[1, 0, 0, 0] = 20.0
    l1, l2 = (channel_scores(source, SPEC, criterion)[NAME] for criterion in ("l1", "l2"))
    assert l1[0] == pytest.approx(5 * l1[1])
    assert l2[1] == pytest.approx(4 * l2[0])


def test_bn_scale_looks_at_the_scale_alone(source: nn.Module) -> None:
    parameter(source, f"{NAME}.weight")[7] *= 100
    scale = parameter(source, "layer4.1.bn1.weight")
    scale[3] = -9.0
    scores = channel_scores(source, SPEC, "bn-scale")[NAME]
    assert np.argsort(scores).tolist() == torch.argsort(scale.abs(), stable=True).tolist()


def test_taylor_sees_that_nobody_listens_to_a_loud_channel(source: nn.Module, batches: list[Batch]) -> None:
    parameter(source, f"{NAME}.weight")[5] *= 100
    parameter(source, "layer4.1.conv2.weight")[:, 5] = 0.0
    assert channel_scores(source, SPEC, "l1")[NAME].argmax() == 5
    scores = channel_scores(source, SPEC, "taylor", batches)[NAME]
    assert scores[5] == 0.0 < np.median(scores)


def test_taylor_adds_up_its_batches(source: nn.Module, batches: list[Batch]) -> None:
    """Sizes of gradients add up; gradients themselves would cancel."""
    both = channel_scores(source, SPEC, "taylor", batches)[NAME]
    each = [channel_scores(source, SPEC, "taylor", [batch])[NAME] for batch in batches]
    assert np.corrcoef(both, each[0])[0, 1] < 0.9999
    assert np.corrcoef(both, each[0] + each[1])[0, 1] > 0.99


def test_taylor_without_images_is_refused(source: nn.Module) -> None:
    with pytest.raises(ModelError, match="at least one batch of training images"):
        channel_scores(source, SPEC, "taylor")


def test_random_depends_on_its_seed_alone(source: nn.Module) -> None:
    first = channel_scores(source, SPEC, "random", random_seed=3)[NAME]
    assert (first == channel_scores(build_seed(SPEC, 9), SPEC, "random", random_seed=3)[NAME]).all()
    assert (first != channel_scores(source, SPEC, "random", random_seed=4)[NAME]).any()


def test_an_unknown_criterion_lists_the_known_and_the_nearest(source: nn.Module) -> None:
    with pytest.raises(
        UnknownNameError, match=r"'tailor' \(did you mean 'taylor'\?\); known: bn-scale, l1, l2, random"
    ):
        channel_scores(source, SPEC, "tailor")


def test_bn_scale_without_batch_norm_names_the_layer_and_a_criterion_that_works() -> None:
    spec = seed_spec("squeezenet1_1", 10, (3, 64, 64))
    with pytest.raises(ModelError, match=r"layer 'features\.0': bn-scale finds no weights") as caught:
        channel_scores(build_seed(spec, 0), spec, "bn-scale")
    assert caught.value.hint == "try: --importance l1"


def test_the_channels_that_score_highest_are_inherited(source: nn.Module) -> None:
    scores = {NAME: np.random.default_rng(5).permutation(CHANNELS).astype(np.float64)}
    module = derive(Candidate(SPEC, (1.0,), ((NAME, 128),)), source, scores)
    kept = np.sort(np.argsort(scores[NAME])[-128:])
    assert torch.equal(parameter(module, f"{NAME}.weight"), parameter(source, f"{NAME}.weight")[kept])


def test_kept_shares_rise_from_nothing_to_all_the_most_important_channel_first(source: nn.Module) -> None:
    scores = channel_scores(source, SPEC)
    for curve in kept_shares(scores, {name: len(own) for name, own in scores.items()}).values():
        gains = np.diff(curve)
        assert (curve[0], curve[-1]) == (0.0, pytest.approx(1.0))
        assert (gains >= 0).all()
        assert (np.diff(gains) <= 1e-12).all()


def test_kept_share_is_flat_over_channels_that_do_nothing() -> None:
    curve = kept_shares({"conv": np.asarray([0.0, 2.0, 0.0, 1.0])}, {"conv": 4})["conv"]
    assert curve.tolist() == pytest.approx([0.0, 2 / 3, 1.0, 1.0, 1.0])
    assert kept_shares({"conv": np.zeros(2)}, {"conv": 2})["conv"].tolist() == [0.0, 0.5, 1.0]


def test_kept_share_of_channels_that_go_together_is_that_of_their_classes() -> None:
    curve = kept_shares({"conv": np.asarray([3.0, 1.0])}, {"conv": 4})["conv"]
    assert curve.tolist() == pytest.approx([0.0, 0.375, 0.75, 0.875, 1.0])
