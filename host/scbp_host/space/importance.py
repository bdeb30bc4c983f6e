"""Which channels a smaller network keeps: importance criteria over coupled groups, and what is left of them.

A criterion gives every weight a saliency. What can only be removed together is scored together: the sum of its
saliency on each axis of each layer, averaged over these axes (Fang et al., "DepGraph: Towards Any Structural Pruning",
CVPR 2023, section 3.3).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from scbp_host.domain.candidate import SeedSpec
from scbp_host.errors import ModelError, UnknownNameError
from scbp_host.space.coupling import Coupling, couple

# Group name -> one score for each class of channels that can be removed on its own, in the order of the group's
# channels: (channels,) for most groups. The higher the more important; comparable within one group only.
Scores = Mapping[str, NDArray[np.float64]]
Batch = tuple[NDArray[np.float32], NDArray[Any]]
# (outputs (n, ...), labels (n, ...)) -> their mean loss, a scalar with a gradient.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Parameter name -> a tensor of its shape, at least 0; parameters that do not count are left out.
Saliency = Mapping[str, torch.Tensor]

DEFAULT_CRITERION = "l1"


@dataclass(frozen=True)
class _Evidence:
    """What a criterion may look at beside the weights: training batches, their loss, and a generator."""

    batches: Sequence[Batch]
    generator: torch.Generator
    loss: Loss


def _magnitude(p: int) -> Callable[[nn.Module, _Evidence], Saliency]:
    return lambda module, _evidence: {name: weight.abs() ** p for name, weight in _weights(module).items()}


def _bn_scale(module: nn.Module, _evidence: _Evidence) -> Saliency:
    norms = {f"{name}.weight" for name, own in module.named_modules() if isinstance(own, nn.BatchNorm2d)}
    return {name: weight.abs() for name, weight in _weights(module).items() if name in norms}


def _taylor(module: nn.Module, evidence: _Evidence) -> Saliency:
    sizes = _gradient_sizes(module, evidence.batches, evidence.loss)
    return {name: weight.abs() * sizes[name] for name, weight in _weights(module).items()}


def _random(module: nn.Module, evidence: _Evidence) -> Saliency:
    return {name: torch.rand(weight.shape, generator=evidence.generator) for name, weight in _weights(module).items()}


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: own.detach() for name, own in module.named_parameters() if name.rpartition(".")[2] != "bias"}


# l1: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017. l2: its Euclidean sister. bn-scale: Liu et al.,
# "Network Slimming", ICCV 2017. taylor: first order, Molchanov et al., "Importance Estimation", CVPR 2019, method
# Taylor-FO on weights. random: the control that a criterion has to beat.
CRITERIA: Mapping[str, Callable[[nn.Module, _Evidence], Saliency]] = {
    "l1": _magnitude(1),
    "l2": _magnitude(2),
    "bn-scale": _bn_scale,
    "taylor": _taylor,
    "random": _random,
}


def channel_scores(
    source: nn.Module,
    spec: SeedSpec,
    criterion: str = DEFAULT_CRITERION,
    batches: Sequence[Batch] = (),
    random_seed: int = 0,
    loss: Loss = functional.cross_entropy,
) -> dict[str, NDArray[np.float64]]:
    """Score every channel of every coupled group.

    Args:
        source: a trained seed; stays as it is.
        spec: what it was built from.
        criterion: a name in :data:`CRITERIA`.
        batches: training images (n, c, h, w) with their labels (n,); only ``taylor`` looks at them, and needs some.
        random_seed: only ``random`` draws from it.
        loss: of outputs and labels; only ``taylor`` takes its gradient.

    Returns:
        group name -> one score for each class of channels that can be removed on its own, for most groups of shape
        (channels,); the higher, the more important. The scale is the criterion's own.

    Raises:
        UnknownNameError: no such criterion.
        ModelError: the criterion finds nothing to score a group by; names the group.
    """
    if criterion not in CRITERIA:
        raise UnknownNameError("importance criterion", criterion, CRITERIA, "docs/training.md compares them")
    module = copy.deepcopy(source).cpu().eval()
    evidence = _Evidence(batches, torch.Generator().manual_seed(random_seed), loss)
    saliency = CRITERIA[criterion](module, evidence)
    return group_scores(couple(source, spec.input_shape), saliency, criterion)


def group_scores(
    coupling: Coupling, saliency: Saliency, criterion: str = DEFAULT_CRITERION
) -> dict[str, NDArray[np.float64]]:
    """Score the classes of every group.

    Args:
        coupling: of the network.
        saliency: of its weights.
        criterion: what ``saliency`` is called, for messages.

    Raises:
        ModelError: nothing to score a group by; names the group.
    """
    of_classes = _class_scores(coupling, saliency)
    scores = {}
    for share, located in coupling.groups.items():
        scores[located.group.name] = own = of_classes[coupling.group_classes(share)]
        if np.isnan(own).any():
            hint = "" if criterion == DEFAULT_CRITERION else f"try: --importance {DEFAULT_CRITERION}"
            name = located.group.name
            raise ModelError(f"layer {name!r}: {criterion} finds no weights in its group to rank channels by", hint)
    return scores


def kept_shares(scores: Scores, channels: Mapping[str, int]) -> dict[str, NDArray[np.float64]]:
    """Say for each group how much of its importance the w most important channels keep.

    Args:
        scores: of each group.
        channels: the seed's width of each group.

    Returns:
        group name -> array of shape (channels + 1,), rising from 0.0 at width 0 to 1.0 at the seed's width.
    """
    return {name: _kept_share(own, channels[name]) for name, own in scores.items()}


def _kept_share(scores: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    kept = np.concatenate([[0.0], np.cumsum(np.sort(scores)[::-1])])
    kept = kept / kept[-1] if kept[-1] > 0.0 else np.linspace(0.0, 1.0, kept.size)
    # A class may stand for several channels, or for part of one: then the width lies between two counts of classes.
    counts = np.linspace(0, len(scores), channels + 1)
    share: NDArray[np.float64] = np.interp(counts, np.arange(kept.size), kept)
    return share


def _class_scores(coupling: Coupling, saliency: Saliency) -> NDArray[np.float64]:
    """Return for each class its saliency on an axis, averaged over the axes where it has some; NaN where on none."""
    count = int(coupling.classes.max()) + 1
    total, axes = np.zeros(count), np.zeros(count)
    for name, axis in coupling.found.ledger.axes:
        if name in saliency:
            classes = coupling.classes_of((name, axis))
            total += np.bincount(classes, _along(saliency[name], axis), count)
            axes[np.unique(classes)] += 1
    scores: NDArray[np.float64] = total / np.where(axes > 0, axes, np.nan)
    return scores


def _along(values: torch.Tensor, axis: int) -> NDArray[np.float64]:
    others = [own for own in range(values.ndim) if own != axis]
    summed = values.sum(others, dtype=torch.float64) if others else values.double()
    along: NDArray[np.float64] = summed.cpu().numpy()
    return along


def _gradient_sizes(module: nn.Module, batches: Iterable[Batch], loss: Loss) -> Saliency:
    """Return the sum over the batches of |dL/dw| of every parameter.

    |w * sum |g|| is the sum of |w * g|: at a trained seed the gradients of the batches cancel, their sizes do not.
    """
    parameters = dict(module.named_parameters())
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    seen = 0
    for images, labels in batches:
        module.zero_grad()
        loss(module(torch.from_numpy(images)), torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in parameters.items():
            if parameter.grad is not None:  # an auxiliary head has none
                totals[name] += parameter.grad.abs()
        seen += 1
    if not seen:
        raise ModelError("importance criterion 'taylor': expected at least one batch of training images, got none")
    return totals
