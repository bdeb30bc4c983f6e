"""What SCBP is compared with: torch-pruning's global L1 pruning, and how a network of a given latency is found."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch_pruning
from torch import nn

from scbp_host.domain.candidate import SeedSpec
from scbp_host.training.refit import KeptOutputs

# Pruning ratios nearer than this give the same network more often than not.
RATIO_STEP = 0.005
# A network this near below the budget is as near as it needs to be: measurements do not repeat better.
NEAR = 0.97
TRIES = 7

_PRUNE_OUTPUTS = (
    torch_pruning.prune_conv_out_channels,
    torch_pruning.prune_depthwise_conv_out_channels,
    torch_pruning.prune_linear_out_channels,
)


class _StepKeepingPruner(torch_pruning.pruner.MagnitudePruner):
    """Keeps at least one step of every layer's channels.

    torch-pruning rounds what is kept down, and leaves a layer whole whose channels would all go: at high ratios the
    least important layers would be the widest.
    """

    def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
        return min(super()._round_to(n_pruned, current_channels, round_to), current_channels - round_to)


def globally_pruned(
    seed: nn.Module, spec: SeedSpec, pruning_ratio: float, channel_step: int
) -> tuple[nn.Module, KeptOutputs]:
    """Prune the ``pruning_ratio`` least important of all channels by torch-pruning's magnitude pruner.

    L1 norms, each group's normalised by its mean, are compared over the whole network; widths are rounded to
    ``channel_step``, and the classifier's outputs stay. ``seed`` stays as it is. Also says which outputs are left.
    """
    pruned = copy.deepcopy(seed).cpu().train(False)
    outputs = [own for own in pruned.modules() if isinstance(own, nn.Linear) and own.out_features == spec.num_classes]
    pruner = _StepKeepingPruner(
        pruned,
        torch.zeros(1, *spec.input_shape),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=pruning_ratio,
        round_to=channel_step,
        ignored_layers=outputs,
    )
    layers = {own: name for name, own in pruned.named_modules() if isinstance(own, nn.Conv2d | nn.Linear)}
    kept: dict[str, torch.Tensor | None] = {name: torch.arange(len(own.weight)) for own, name in layers.items()}
    for group in pruner.step(interactive=True):
        for dependency, gone in group:
            name = layers.get(dependency.target.module)
            if name is not None and dependency.handler in _PRUNE_OUTPUTS:
                left = kept[name]
                assert left is not None
                kept[name] = left[~torch.isin(torch.arange(len(left)), torch.tensor(gone))]
        group.prune()
    return pruned, kept


def widths_of(module: nn.Module) -> dict[str, int]:
    """Return every convolution's output channels."""
    return {name: own.out_channels for name, own in module.named_modules() if isinstance(own, nn.Conv2d)}


def nearest_below(budget: float, latency: Callable[[float], float], known: dict[float, float]) -> float:
    """Return the pruning ratio whose measured latency is nearest below ``budget``.

    Args:
        budget: latency ratio.
        latency: measures one pruning ratio; taken to fall with it, roughly like a straight line on a logarithm.
        known: what is measured already, by pruning ratio; must hold one on each side of the budget. Grows.
    """
    for _ in range(TRIES):
        slow = max(ratio for ratio, own in known.items() if own > budget)
        fast = min((ratio for ratio, own in known.items() if own <= budget and ratio > slow), default=None)
        if fast is None:
            break
        if known[fast] >= NEAR * budget or fast - slow <= 2 * RATIO_STEP:
            break
        between = _between(slow, fast, known, budget)
        known[between] = latency(between)
    # Fast enough, and of these the slowest: where noise made latency rise with the pruning ratio, that is well too.
    within = {ratio: own for ratio, own in known.items() if own <= budget}
    if not within:
        raise SystemExit(f"no pruning ratio up to {max(known):g} is within a latency ratio of {budget:.3f}")
    return max(within, key=lambda ratio: within[ratio])


def _between(slow: float, fast: float, known: dict[float, float], budget: float) -> float:
    share = math.log(known[slow] / (0.985 * budget)) / math.log(known[slow] / known[fast])
    # Never at an end: that is measured already.
    guess = slow + min(max(share, 0.1), 0.9) * (fast - slow)
    return min(max(round(guess / RATIO_STEP) * RATIO_STEP, slow + RATIO_STEP), fast - RATIO_STEP)
