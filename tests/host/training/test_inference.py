from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scbp_host.tasks.base import Split
from scbp_host.training.inference import batches, evaluate, predict, recalibrate_batch_norm

IMAGES = np.random.default_rng(0).normal(3.0, 2.0, (300, 2, 4, 4)).astype(np.float32)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3))


def test_predict_runs_in_eval_mode_and_leaves_the_mode_alone() -> None:
    module = net().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    logits = predict(module, IMAGES)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    with torch.no_grad():
        assert logits == pytest.approx(module.eval()(torch.from_numpy(IMAGES)).numpy(), abs=1e-5)


def test_evaluate_is_top1() -> None:
    module = net()
    answers = predict(module, IMAGES).argmax(axis=1)
    answers[:30] = (answers[:30] + 1) % 3
    assert evaluate(module, Split(IMAGES, answers)) == pytest.approx(0.9)


def test_recalibrated_statistics_are_those_of_the_images() -> None:
    module = net().train()
    weights = {name: parameter.clone() for name, parameter in module.named_parameters()}
    recalibrate_batch_norm(module, IMAGES)
    norm = module[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        seen = module[0](torch.from_numpy(IMAGES))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.numpy() == pytest.approx(seen.mean(dim=(0, 2, 3)).numpy(), rel=1e-4)
    assert norm.running_var.numpy() == pytest.approx(seen.var(dim=(0, 2, 3)).numpy(), rel=1e-2)
    assert norm.momentum == 0.1
    assert not module.training
    assert all(torch.equal(weights[name], parameter) for name, parameter in module.named_parameters())


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(898, 64, {64, 65}), (5, 2, {2, 3}), (65, 64, {65}), (3, 64, {3})]
)
def test_no_batch_is_smaller_than_asked_for(count: int, size: int, sizes: set[int]) -> None:
    parts = batches(torch.arange(count), size)
    assert {len(part) for part in parts} == sizes
    assert torch.equal(torch.cat(parts), torch.arange(count))
