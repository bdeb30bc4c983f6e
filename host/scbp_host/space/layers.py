"""Copies of a network with other tensors in it, whose layers know how wide they have become."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import nn


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer by name; one that is shared, by its first name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def replaced(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a copy of ``module`` with these tensors in place of its parameters and buffers, shared ones shared.

    Nothing but the module's structure is copied.

    Args:
        module: left as it was.
        tensors: by parameter or buffer name; all of them.
    """
    memo: dict[int, Any] = {}
    for name, parameter in module.named_parameters():
        memo[id(parameter)] = nn.Parameter(tensors[name], requires_grad=parameter.requires_grad)
    memo.update({id(buffer): tensors[name] for name, buffer in module.named_buffers()})
    return copy.deepcopy(module, memo)


def resized(module: nn.Module, tensors: Mapping[str, torch.Tensor], by_whole_groups: Container[str]) -> nn.Module:
    """Return :func:`replaced`'s copy, in eval mode, with every layer's attributes set to the tensors' sizes.

    Args:
        module: left as it was.
        tensors: by parameter or buffer name; all of them.
        by_whole_groups: names of the weights of grouped convolutions that have fewer groups, not smaller ones.
    """
    copied = replaced(module, tensors)
    for name, layer in copied.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            _resize_convolution(layer, f"{name}.weight" in by_whole_groups)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.modules.batchnorm._NormBase):
            own = layer.weight if layer.weight is not None else layer.running_mean
            layer.num_features = layer.num_features if own is None else len(own)
        elif isinstance(layer, nn.LayerNorm) and layer.weight is not None:
            layer.normalized_shape = tuple(layer.weight.shape)
        elif isinstance(layer, nn.GroupNorm) and layer.weight is not None:
            layer.num_channels = len(layer.weight)
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = len(layer.weight)
    return copied.eval()


def _resize_convolution(layer: nn.modules.conv._ConvNd, by_whole_groups: bool) -> None:
    first, second = layer.weight.shape[:2]
    if layer.transposed:
        layer.in_channels, layer.out_channels = first, second * layer.groups
        return
    if by_whole_groups:
        layer.groups = first * layer.groups // layer.out_channels
    layer.in_channels, layer.out_channels = second * layer.groups, first
