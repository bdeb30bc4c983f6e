"""Are the widths that came out those that the device is fast at?"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from scbp_host.errors import ModelError

Widths = Mapping[str, tuple[int, int]]
"""Convolution name -> (channels put out, channels put out by one of its groups)."""


def widths_of(module: nn.Module) -> Widths:
    """Return the widths of every convolution of a network, as its weights and attributes say."""
    return {
        name: (len(layer.weight), len(layer.weight) // layer.groups)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def check_steps(module: nn.Module, seed: Widths, channel_step: int) -> None:
    """Look at every convolution, chosen or coupled, depthwise or grouped, whatever feeds it.

    Args:
        module: what was derived.
        seed: widths of the seed's convolutions.
        channel_step: of the device.

    Raises:
        ModelError: a width, or the width of one group, is neither a multiple of the step nor the seed's own; names the
            convolution.
    """
    for name, found in widths_of(module).items():
        for what, width, own in zip(("", "each group of "), found, seed[name], strict=True):
            if width != own and width % channel_step:
                raise ModelError(
                    f"layer {name!r}: {what}it came out at {width} channels, expected a multiple of {channel_step} "
                    f"or the seed's {own}"
                )
