"""Which channels a smaller network keeps: importance criteria over coupled groups, and what is left of them.

The scores are torch-pruning's: each layer of a coupled group scores its channels, and the group's score is the mean
over its layers (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, section 3.3).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from scbp_host.domain.candidate import SeedSpec
from scbp_host.errors import ModelError, UnknownNameError
from scbp_host.space.coupling import coupled_groups, trace, whole_group

# Group name -> (channels,), the higher the more important; comparable within one group only.
Scores = Mapping[str, NDArray[np.float64]]
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
Scorer = Callable[[Any], torch.Tensor | None]

DEFAULT_CRITERION = "l1"


@dataclass(frozen=True)
class _Evidence:
    """What a criterion may look at beside the weights: training batches, and a generator to draw from."""

    batches: Sequence[Batch]
    generator: torch.Generator


def _magnitude(p: int) -> Callable[[nn.Module, _Evidence], Scorer]:
    def scorer(_module: nn.Module, _evidence: _Evidence) -> Scorer:
        return tp.importance.GroupMagnitudeImportance(p=p)  # type: ignore[no-any-return]

    return scorer


def _bn_scale(_module: nn.Module, _evidence: _Evidence) -> Scorer:
    return tp.importance.BNScaleImportance()  # type: ignore[no-any-return]


def _taylor(module: nn.Module, evidence: _Evidence) -> Scorer:
    _accumulate_gradients(module, evidence.batches)
    return tp.importance.GroupTaylorImportance()  # type: ignore[no-any-return]


def _random(_module: nn.Module, evidence: _Evidence) -> Scorer:
    return lambda group: torch.rand(len(group[0].idxs), generator=evidence.generator)


# l1: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017. l2: its Euclidean sister. bn-scale: Liu et al.,
# "Network Slimming", ICCV 2017. taylor: first order, Molchanov et al., "Importance Estimation", CVPR 2019, method
# Taylor-FO on weights. random: the control that a criterion has to beat.
CRITERIA: Mapping[str, Callable[[nn.Module, _Evidence], Scorer]] = {
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
) -> dict[str, NDArray[np.float64]]:
    """Score every channel of every coupled group.

    Args:
        source: a trained seed; stays as it is.
        spec: what it was built from.
        criterion: a name in :data:`CRITERIA`.
        batches: training images (n, c, h, w) with their labels (n,); only ``taylor`` looks at them, and needs some.
        random_seed: only ``random`` draws from it.

    Returns:
        group name -> array of shape (channels,); the higher, the more important. The scale is the criterion's own.

    Raises:
        UnknownNameError: no such criterion.
        ModelError: the criterion finds nothing to score a group by; names the group.
    """
    if criterion not in CRITERIA:
        raise UnknownNameError("importance criterion", criterion, CRITERIA, "docs/training.md compares them")
    module = copy.deepcopy(source).cpu().eval()
    evidence = _Evidence(batches, torch.Generator().manual_seed(random_seed))
    scorer = CRITERIA[criterion](module, evidence)
    graph = trace(module, spec.input_shape)
    groups = [located.group for located in coupled_groups(module, spec.input_shape)]
    return {group.name: score_group(graph, module.get_submodule(group.name), scorer, criterion) for group in groups}


def score_group(
    graph: Any, conv: nn.Module, scorer: Scorer | None = None, criterion: str = DEFAULT_CRITERION
) -> NDArray[np.float64]:
    """Return the scores (channels,) of one group; None takes L1. Raises ModelError where there is nothing to score."""
    assert isinstance(conv, nn.Conv2d), "groups are named after a convolution"
    scores = (scorer or tp.importance.GroupMagnitudeImportance(p=1))(whole_group(graph, conv))
    if not isinstance(scores, torch.Tensor):
        hint = "" if criterion == DEFAULT_CRITERION else f"try: --importance {DEFAULT_CRITERION}"
        name = graph._module2name[conv]
        raise ModelError(f"layer {name!r}: {criterion} finds no weights in its group to rank channels by", hint)
    return scores.detach().numpy().astype(np.float64)


def kept_shares(scores: Scores) -> dict[str, NDArray[np.float64]]:
    """Say for each group how much of its importance the w most important channels keep.

    Returns:
        group name -> array of shape (channels + 1,), rising from 0.0 at width 0 to 1.0 at the seed's width.
    """
    return {name: _kept_share(own) for name, own in scores.items()}


def _kept_share(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.concatenate([[0.0], np.cumsum(np.sort(scores)[::-1])])
    share: NDArray[np.float64] = kept / kept[-1] if kept[-1] > 0.0 else np.linspace(0.0, 1.0, kept.size)
    return share


def _accumulate_gradients(module: nn.Module, batches: Iterable[Batch]) -> None:
    """Leave the sum over the batches of |dL/dw| in every parameter's ``grad``.

    |w * sum |g|| is the sum of |w * g|: at a trained seed the gradients of the batches cancel, their sizes do not.
    """
    totals = {parameter: torch.zeros_like(parameter) for parameter in module.parameters()}
    seen = 0
    for images, labels in batches:
        module.zero_grad()
        functional.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        for parameter, total in totals.items():
            if parameter.grad is not None:  # an auxiliary head has none
                total += parameter.grad.abs()
        seen += 1
    if not seen:
        raise ModelError("importance criterion 'taylor': expected at least one batch of training images, got none")
    for parameter, total in totals.items():
        parameter.grad = total
