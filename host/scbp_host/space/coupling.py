"""Which channels must be kept or removed together, found by torch-pruning's DepGraph.

DepGraph traces autograd's graph and follows each channel through residual additions, concatenations, depthwise
convolutions and squeeze-and-excitation gates (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023).
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from scbp_host.domain.candidate import ChannelGroup
from scbp_host.errors import ModelError

Resolution = tuple[int, int]


@dataclass(frozen=True)
class LocatedGroup:
    """A coupled group and the (height, width) that most of its convolutions put out (the earliest one on a tie)."""

    group: ChannelGroup
    resolution: Resolution


def trace(module: nn.Module, input_shape: tuple[int, int, int]) -> Any:
    """Return the DepGraph of ``module`` (in eval mode, on the CPU) for images of ``input_shape``.

    Raises:
        ModelError: DepGraph cannot follow the module.
    """
    try:
        with warnings.catch_warnings():
            # A bare nn.Parameter is cut along its last axis that is not 1: right for a layer scale (channels, 1, 1).
            warnings.filterwarnings("ignore", message="Unwrapped parameters", category=UserWarning)
            return tp.DependencyGraph().build_dependency(module, torch.zeros(1, *input_shape))
    except Exception as error:  # the tracer raises whatever it trips over: IndexError, ZeroDivisionError
        raise ModelError(
            f"{type(module).__name__}: its channel coupling cannot be traced ({type(error).__name__}: {error})",
            "models that shuffle or split channels are not supported yet",
        ) from error


def pruning_group(graph: Any, conv: nn.Conv2d, channels: list[int]) -> Any:
    """Return the torch-pruning group that removes these output channels of ``conv`` and all that hangs on them."""
    return graph.get_pruning_group(conv, tp.prune_conv_out_channels, channels)


def whole_group(graph: Any, conv: nn.Conv2d) -> Any:
    """Return the torch-pruning group of all output channels of ``conv``."""
    return pruning_group(graph, conv, list(range(conv.out_channels)))


def coupled_groups(module: nn.Module, input_shape: tuple[int, int, int]) -> tuple[LocatedGroup, ...]:
    """Find every prunable channel group of ``module``'s convolutions, in forward order.

    A group whose channels nobody consumes is the module's output and not prunable; a depthwise convolution of the
    input image is bound to the image's channels and not prunable either.

    Args:
        module: in eval mode, on the CPU.
        input_shape: (channels, height, width) of one image.

    Raises:
        ModelError: no such group, or channels coupled in a way that has no single width.
    """
    graph = trace(module, input_shape)
    resolutions = conv_resolutions(module, input_shape)
    located: list[LocatedGroup] = []
    seen: set[str] = set()
    for name in resolutions:
        conv = module.get_submodule(name)
        if name in seen or not isinstance(conv, nn.Conv2d) or is_depthwise(conv):
            continue
        members = whole_group(graph, conv)
        layers = _producers(graph, members, list(resolutions))
        seen.update(layers)
        if _is_consumed(graph, members):
            located.append(LocatedGroup(ChannelGroup(name, conv.out_channels, layers), _most(layers, resolutions)))
    if not located:
        raise ModelError(f"{type(module).__name__}: has no convolution whose channels could be pruned")
    return tuple(located)


def conv_resolutions(module: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, Resolution]:
    """Return the (height, width) each Conv2d puts out, keyed by module name in forward order."""
    found: dict[str, Resolution] = {}
    hooks = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):

            def record(_layer: nn.Module, _inputs: object, output: torch.Tensor, name: str = name) -> None:
                found.setdefault(name, (int(output.shape[-2]), int(output.shape[-1])))

            hooks.append(layer.register_forward_hook(record))
    try:
        with torch.inference_mode():
            module(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Tell whether every output channel sees its own input channel only: such a width is never chosen, but follows."""
    return conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels


def _producers(graph: Any, members: Any, forward_order: list[str]) -> tuple[str, ...]:
    names = []
    for dep, channels in members:
        layer, name = dep.target.module, graph._module2name.get(dep.target.module, "")
        if isinstance(layer, nn.Conv2d) and graph.is_out_channel_pruning_fn(dep.handler):
            _check_single_width(name, layer, len(set(channels)))
            names.append(name)
    return tuple(sorted(set(names), key=forward_order.index))


def _check_single_width(name: str, conv: nn.Conv2d, coupled: int) -> None:
    if conv.groups > 1 and not is_depthwise(conv):
        raise ModelError(f"layer {name!r}: grouped convolutions (groups={conv.groups}) are not supported yet")
    if coupled != conv.out_channels:
        raise ModelError(f"layer {name!r}: only {coupled} of its {conv.out_channels} channels are coupled to one group")


def _is_consumed(graph: Any, members: Any) -> bool:
    return any(
        isinstance(dep.target.module, nn.Conv2d | nn.Linear) and not graph.is_out_channel_pruning_fn(dep.handler)
        for dep, _ in members
    )


def _most(layers: tuple[str, ...], resolutions: dict[str, Resolution]) -> Resolution:
    # most_common keeps the order of first sight among equals.
    return Counter(resolutions[layer] for layer in layers).most_common(1)[0][0]
