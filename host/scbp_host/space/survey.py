"""A seed as binning sees it: its channel groups, its layers in forward order, and what each of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from scbp_host.domain.candidate import SeedSpec
from scbp_host.errors import UsageError
from scbp_host.space.cost import WeightedLayer, check_countable, layer_macs
from scbp_host.space.coupling import LocatedGroup, Resolution, coupled_groups
from scbp_host.space.seeds import build_seed


@dataclass(frozen=True)
class Layer:
    """A convolution or Linear of the seed.

    Attributes:
        name: of the module.
        resolution: the (height, width) it puts out; None for a Linear.
        params: learnable scalars, its own and those of what is executed between it and the next layer (BatchNorm).
        macs: multiply-accumulates for one image.
    """

    name: str
    resolution: Resolution | None
    params: int
    macs: int


@dataclass(frozen=True)
class Survey:
    """What binning needs to know of a seed.

    Attributes:
        seed: which one.
        groups: its prunable channel groups, in forward order.
        layers: every layer, in forward order.
        params: learnable scalars of the whole seed, also of what inference never executes.
        outputs: shape of what the seed puts out for one image; a classifier's is (num_classes,).
    """

    seed: SeedSpec
    groups: tuple[LocatedGroup, ...]
    layers: tuple[Layer, ...]
    params: int
    outputs: tuple[int, ...]

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """The group that each layer's cost belongs to, by their names.

        A layer whose own width is in no group goes with the layers before it as long as a pruned one is to come. What
        comes after the last pruned layer is the head, and belongs to no group.
        """
        own: dict[str, str] = {}
        for located in self.groups:
            for name in located.group.layers:
                own.setdefault(name, located.group.name)
        last = max((index for index, layer in enumerate(self.layers) if layer.name in own), default=-1)
        current = next(own[layer.name] for layer in self.layers if layer.name in own)
        for layer in self.layers[: last + 1]:
            current = own.setdefault(layer.name, current)
        return own

    def costs(self, unit: Literal["params", "macs"]) -> dict[str, float]:
        """Return every layer's cost by its name."""
        return {layer.name: float(getattr(layer, unit)) for layer in self.layers}

    def shares(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Sum costs by layer up into costs by group, every group in forward order; the head's are left out."""
        sums = {located.group.name: 0.0 for located in self.groups}
        for layer, owner in self.owners.items():
            sums[owner] += costs.get(layer, 0.0)
        return sums


def survey_seed(spec: SeedSpec) -> Survey:
    """Survey a seed; raises ModelError where it cannot be built or traced, or has nothing to prune."""
    module = build_seed(spec, random_seed=0)
    groups = coupled_groups(module, spec.input_shape)
    params = sum(parameter.numel() for parameter in module.parameters())
    with torch.inference_mode():
        outputs = tuple(module(torch.zeros(1, *spec.input_shape)).shape[1:])
    return Survey(spec, groups, layers_of(module, spec.input_shape), params, outputs)


def require_classifier(survey: Survey) -> None:
    """Raise UsageError for a network that puts out anything but one logit for each class."""
    expected = (survey.seed.num_classes,)
    if survey.outputs != expected:
        raise UsageError(
            f"model {survey.seed.factory!r} puts out {survey.outputs} for an image, expected a classifier's {expected}",
            "what else it may learn, a task of your own says: --data package.module:function; see docs/data.md",
        )


def layers_of(module: nn.Module, input_shape: tuple[int, int, int]) -> tuple[Layer, ...]:
    """Run one image of ``input_shape`` through ``module``, on the CPU in eval mode; return its layers as executed.

    Raises:
        ModelError: it has a layer whose multiply-accumulates cannot be counted; names it.
    """
    check_countable(module)
    ledger = _Ledger()
    hooks = [
        own.register_forward_hook(ledger.hook(name), with_kwargs=True)
        for name, own in module.named_modules()
        if own._parameters
    ]
    try:
        with torch.inference_mode():
            module.eval()(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(ledger.layers.values())


class _Ledger:
    """Books what is executed on the layer executed last."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self._current = ""
        self._before_any = 0
        self._booked: set[int] = set()

    def hook(self, name: str) -> Any:
        """Return a forward hook for the module of this name."""

        def book(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: object) -> None:
            params = self._new_params(module)
            if isinstance(module, WeightedLayer) and isinstance(output, torch.Tensor):
                self._book_layer(
                    name, module, layer_macs(module, next(iter((*inputs, *named.values()))), output), output
                )
            self._book_params(params)

        return book

    def _new_params(self, module: nn.Module) -> int:
        fresh = [own for own in module.parameters(recurse=False) if id(own) not in self._booked]
        self._booked.update(id(own) for own in fresh)
        return sum(own.numel() for own in fresh)

    def _book_layer(self, name: str, module: WeightedLayer, macs: int, output: torch.Tensor) -> None:
        height_width = None if isinstance(module, nn.Linear) else (int(output.shape[-2]), int(output.shape[-1]))
        known = self.layers.get(name, Layer(name, height_width, self._before_any, 0))
        self.layers[name] = Layer(name, known.resolution, known.params, known.macs + macs)
        self._current, self._before_any = name, 0

    def _book_params(self, params: int) -> None:
        known = self.layers.get(self._current)
        if known is None:
            self._before_any += params
        else:
            self.layers[known.name] = Layer(known.name, known.resolution, known.params + params, known.macs)
