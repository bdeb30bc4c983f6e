"""Fit what is left of a network to what it did before: least squares, layer by layer, without any training.

Removing channels takes from every layer a part of its inputs, and what it puts out is off by their share. So the
weights that are left are chosen anew: of all linear layers on the inputs that are left, the one whose outputs come
nearest to the seed's (He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
section 3.1, step ii). Layers are fitted in the order they compute in, each on what those before it put out by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from scbp_host.training.inference import batch_norms, recalibrate_batch_norm
from scbp_host.training.placement import returned, training_device

# So many equations for each layer at most, from some places of its output in each image: neighbours say much the same.
# It bounds what a layer of n inputs costs: 2 * 4096^2 * n operations, and a system of 4096 unknowns.
EQUATIONS = 4096
# How much a change of the weights costs, relative to the inputs' mean square.
RIDGE = 1e-2
# The other images say how much of the change to believe.
FITTED_SHARE = 0.75

Layer = nn.Conv2d | nn.Linear
# For each layer by name the seed's output channels that it keeps; None where it keeps them all.
KeptOutputs = Mapping[str, torch.Tensor | None]


@dataclass(frozen=True)
class _Target:
    """What a layer should put out: (images * places, channels kept), at these places of its output."""

    outputs: torch.Tensor
    places: torch.Tensor


def refit(module: nn.Module, source: nn.Module, kept: KeptOutputs, images: NDArray[np.float32]) -> None:
    """Fit each layer of ``module`` to the one it comes from, and recalibrate BatchNorm.

    Fitted are linear layers, and convolutions without groups that pad with zeros if at all; others keep their weights.

    Args:
        module: derived from ``source``, with its weights; changed in place, left in eval mode on the CPU.
        source: the trained seed, in eval mode; stays as it is, on the CPU.
        kept: which of its outputs are left; layers that are not named keep their weights.
        images: (n, c, h, w) training images, a few hundred.
    """
    device = training_device()
    batch = torch.from_numpy(images).to(device)
    names = [name for name, layer in module.named_modules() if name in kept and _can_be_fitted(layer)]
    try:
        with torch.no_grad():
            targets = _targets(source.to(device), {name: kept[name] for name in names}, batch)
            _fit_in_passing(module.to(device), targets, batch)
        recalibrate_batch_norm(module, images)
    finally:
        returned(source)
        returned(module)


def _targets(source: nn.Module, kept: KeptOutputs, batch: torch.Tensor) -> dict[str, _Target]:
    found: dict[str, _Target] = {}
    # Whatever is drawn here is the same for every candidate.
    generator = torch.Generator().manual_seed(0)
    per_image = max(1, EQUATIONS // len(batch))

    def record(name: str, layer: nn.Module, _inputs: object, outputs: torch.Tensor) -> None:
        if name not in found:  # a layer that is used twice is fitted to its first use
            flat = _channels_last(outputs, layer)
            places = torch.randperm(flat.shape[1], generator=generator)[:per_image].to(outputs.device)
            own = flat[:, places].flatten(0, 1)
            channels = kept[name]
            found[name] = _Target(own if channels is None else own[:, channels.to(own.device)], places)

    hooks = [source.get_submodule(name).register_forward_hook(partial(record, name)) for name in kept]
    _run(source, batch, hooks)
    return found


def _fit_in_passing(module: nn.Module, targets: Mapping[str, _Target], batch: torch.Tensor) -> None:
    """Run ``module`` once; each layer is fitted when its inputs come, and computes with what was fitted."""
    waiting = dict(targets)

    def fit(name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if name in waiting:
            assert isinstance(layer, nn.Conv2d | nn.Linear), "no other can be fitted"
            _fit(layer, inputs[0], waiting.pop(name))

    hooks = [module.get_submodule(name).register_forward_pre_hook(partial(fit, name)) for name in targets]
    norms = batch_norms(module)
    module.eval()
    for norm in norms:
        norm.train()  # with the statistics of what comes, not of what came in the seed
    _run(module, batch, hooks)
    module.eval()


def _run(module: nn.Module, batch: torch.Tensor, hooks: list[RemovableHandle]) -> None:
    try:
        module(batch)
    finally:
        for hook in hooks:
            hook.remove()


def _fit(layer: Layer, inputs: torch.Tensor, target: _Target) -> None:
    """Choose weights w and bias b that make ``|x w + b - y|^2 + ridge * |w - w_inherited|^2`` least, and believe them
    as far as images that they were not fitted to say so.
    """
    rows = _rows(layer, inputs, target.places)
    fitted = int(FITTED_SHARE * len(inputs)) * (len(rows) // len(inputs))
    mean, target_mean = rows[:fitted].mean(0), target.outputs[:fitted].mean(0)
    centred = rows - mean
    inherited = layer.weight.flatten(1).T
    residual = target.outputs - target_mean - centred @ inherited
    change = _ridge(centred[:fitted], residual[:fitted])
    weight = inherited + _believed(centred[fitted:] @ change, residual[fitted:]) * change
    layer.weight.copy_(weight.T.reshape(layer.weight.shape))
    if layer.bias is not None:  # else BatchNorm takes the mean away
        layer.bias.copy_(target_mean - mean @ weight)


def _believed(predicted: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return the share of the change, 0 to 1, that is best on images it was not fitted to: least squares once more.

    With few images for many weights, a layer would be fitted to what is peculiar to them, the next one to what that did
    to them, and so on.
    """
    size = predicted.square().sum() + torch.finfo(predicted.dtype).tiny
    return ((predicted * residual).sum() / size).clamp(0, 1)


def _ridge(rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return the change of the weights, (inputs, outputs): of two equal forms, by that of the smaller matrix."""
    count, inputs = rows.shape
    ridge = RIDGE * rows.square().sum() / inputs + torch.finfo(rows.dtype).tiny
    if inputs <= count:
        return _solved(rows.T @ rows, ridge, rows.T @ residual)
    return rows.T @ _solved(rows @ rows.T, ridge, residual)


def _solved(matrix: torch.Tensor, ridge: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    regular = matrix.double() + ridge.double() * torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)
    solution: torch.Tensor = torch.linalg.solve(regular, right.double())
    return solution.to(right.dtype)


def _rows(layer: Layer, inputs: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return what the layer sees at these places of its output, (images * places, weights of one output channel)."""
    if isinstance(layer, nn.Linear):
        return _channels_last(inputs, layer)[:, places].flatten(0, 1)
    assert not isinstance(layer.padding, str), "such a layer is not fitted"
    (pad_y, pad_x), (step_y, step_x), (hole_y, hole_x) = layer.padding, layer.stride, layer.dilation
    high, wide = layer.kernel_size
    padded = functional.pad(inputs, (pad_x, pad_x, pad_y, pad_y))
    width = (padded.shape[3] - hole_x * (wide - 1) - 1) // step_x + 1
    rows = (places // width * step_y)[:, None, None] + hole_y * torch.arange(high, device=inputs.device)[:, None]
    columns = (places % width * step_x)[:, None, None] + hole_x * torch.arange(wide, device=inputs.device)
    patches = padded[:, :, rows, columns]  # (images, channels, places, high, wide)
    return patches.transpose(1, 2).flatten(2).flatten(0, 1)


def _channels_last(features: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """Return features as (images, places, channels)."""
    if isinstance(layer, nn.Conv2d):
        return features.flatten(2).transpose(1, 2)
    return features.reshape(len(features), -1, features.shape[-1])


def _can_be_fitted(layer: nn.Module) -> bool:
    # A subclass may compute anything from its weights.
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) is nn.Linear
