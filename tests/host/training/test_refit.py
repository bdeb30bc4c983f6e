from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.training import refit as refits
from scbp_host.training.refit import refit


@pytest.fixture(autouse=True)
def initial_weights() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((64, 3, 12, 12)).astype(np.float32)


def outputs(module: nn.Module, images: NDArray[np.float32]) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(images))  # type: ignore[no-any-return]


def disturbed(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.data += torch.randn_like(parameter)
    return copied


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 5, 1),
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(3, 5, (1, 4), stride=3, bias=False),
        nn.Sequential(nn.Flatten(), nn.Linear(432, 4)),
        nn.Linear(12, 7),
    ],
    ids=["1x1", "padded", "strided and dilated", "without bias", "linear", "linear over every row"],
)
def test_a_layer_that_lost_nothing_is_found_again(
    layer: nn.Module, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enough equations, and no price on leaving the old weights: least squares finds those that made the outputs."""
    monkeypatch.setattr(refits, "RIDGE", 1e-9)
    images = np.random.default_rng(1).standard_normal((800, 3, 12, 12)).astype(np.float32)
    source = nn.Sequential(layer)
    module = disturbed(source)
    refit(module, source, {name: None for name, _ in source.named_modules()}, images)
    torch.testing.assert_close(outputs(module, images), outputs(source, images), rtol=1e-3, atol=1e-3)


def pair() -> tuple[nn.Sequential, nn.Sequential]:
    """A network whose last 4 channels repeat its first 4, and what is left of it without them."""
    source = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(384, 5)
    )
    narrow = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(384, 5)
    )
    source[0].weight.data[4:], source[0].bias.data[4:] = source[0].weight.data[:4], source[0].bias.data[:4]
    with torch.no_grad():
        for own, other in zip(narrow, source, strict=True):
            for name, tensor in own.state_dict().items():
                whole = other.state_dict()[name]
                tensor.copy_(whole[tuple(slice(size) for size in tensor.shape)])
    return source.eval(), narrow.eval()


KEPT = {"0": torch.arange(4), "3": None, "5": None}


def test_what_the_channels_left_can_say_for_those_that_went_they_say(images: NDArray[np.float32]) -> None:
    source, narrow = pair()
    refits.recalibrate_batch_norm(source, images)
    before = copy.deepcopy(source.state_dict())
    expected = outputs(source, images)
    spread = float(expected.std())
    assert float((outputs(narrow, images) - expected).std()) > spread / 2
    refit(narrow, source, KEPT, images)
    assert float((outputs(narrow, images) - expected).std()) < spread / 20
    assert not narrow.training
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items())


def test_the_same_images_give_the_same_weights(images: NDArray[np.float32]) -> None:
    source, narrow = pair()
    other = copy.deepcopy(narrow)
    refit(narrow, source, KEPT, images)
    torch.manual_seed(99)
    refit(other, source, KEPT, images)
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), other.parameters(), strict=True))


def test_both_forms_of_ridge_regression_are_one(images: NDArray[np.float32]) -> None:
    """More weights than equations, or fewer."""
    for count in (5, 50):
        rows, residual = torch.randn(count, 20), torch.randn(count, 3)
        ridge = refits.RIDGE * rows.square().sum() / 20
        direct = torch.linalg.solve(rows.T @ rows + ridge * torch.eye(20), rows.T @ residual)
        torch.testing.assert_close(refits._ridge(rows, residual), direct, rtol=1e-3, atol=1e-4)


class Doubled(nn.Conv2d):
    """Computes something else from its weights than a convolution does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(images)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 3, 3, groups=3),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3, padding="same"),
        Doubled(3, 4, 3),
    ],
    ids=["grouped", "reflecting", "padding by name", "of its own kind"],
)
def test_layers_that_are_no_plain_product_stay_as_they_are(layer: nn.Module, images: NDArray[np.float32]) -> None:
    source = nn.Sequential(layer)
    module = disturbed(source)
    before = copy.deepcopy(module.state_dict())
    refit(module, source, {"0": None}, images)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_layer_without_any_input_keeps_its_weights(images: NDArray[np.float32]) -> None:
    source = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    source[0].weight.data.zero_()
    source[0].bias.data.fill_(-1.0)
    module = copy.deepcopy(source)
    refit(module, source, {"0": None, "2": None}, images)
    torch.testing.assert_close(module[2].weight, source[2].weight)
    assert torch.isfinite(outputs(module, images)).all()


def test_what_few_images_say_of_many_weights_is_hardly_believed() -> None:
    """The outputs that went were noise: there is nothing to be found in the inputs that are left."""
    noise = np.random.default_rng(2).standard_normal((40, 30, 1, 1)).astype(np.float32)
    source, module = nn.Sequential(nn.Conv2d(30, 8, 1)), Without(nn.Conv2d(15, 8, 1))
    with torch.no_grad():
        module[0].weight.copy_(source[0].weight[:, :15])
    before = module[0].weight.clone()
    refit(module, source, {"0": None}, noise)
    assert float((module[0].weight - before).detach().norm()) < 0.25 * float(before.detach().norm())


class Without(nn.Sequential):
    """Sees the first half of the channels only."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images[:, :15])  # type: ignore[no-any-return]


def test_no_layer_sees_more_equations_than_are_paid_for(
    images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refits, "EQUATIONS", 640)
    source, narrow = pair()
    seen: list[int] = []
    ridge = refits._ridge
    monkeypatch.setattr(refits, "_ridge", lambda rows, residual: (seen.append(len(rows)), ridge(rows, residual))[1])
    refit(narrow, source, KEPT, images)
    assert seen == [480, 480, 48]
