"""The slimmable seed: one training after which every candidate's accuracy can be estimated without training it.

Yu and Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019: all candidates share the
seed's weights, and each step trains the widest, the narrowest and a few random ones (the sandwich rule, section 3.2).
The widest learns from the labels, the others from the widest (inplace distillation, section 3.3). BatchNorm statistics
cannot be shared between widths and are computed anew for each (section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from scbp_host.domain.outcome import Failure
from scbp_host.tasks.base import Examples, Split, Task
from scbp_host.tasks.metric import Loss
from scbp_host.training.distillation import distillation_loss
from scbp_host.training.inference import evaluate, recalibrate_batch_norm
from scbp_host.training.loop import OnEpoch
from scbp_host.training.placement import training_device
from scbp_host.training.recipe import Recipe
from scbp_host.training.trainer import TrainResult, ignore_epoch, train

SUPERNET_RECIPE = Recipe(epochs=6, learning_rate=2e-3, distill_temperature=1.0, distill_weight=1.0)
# Random sub-networks in a step, beside the widest and the narrowest: the paper's 4-network sandwich.
RANDOM_PARTS = 2
# Training images that a sub-network's BatchNorm statistics are computed from.
CALIBRATION_IMAGES = 512
# How many sub-networks' modules are kept; they hold no weights.
_REMEMBERED_PARTS = 512


class Part(Protocol):
    """A smaller network that shares the weights of a larger one."""

    @property
    def module(self) -> nn.Module:
        """The smaller network with weights of its own."""
        ...

    @property
    def slices(self) -> Mapping[str, Callable[[torch.Tensor], torch.Tensor]]:
        """For every parameter and buffer by name, what to take of the larger network's; differentiable."""
        ...


class SharedPart:
    """A sub-network that computes with the larger network's own parameters, and so trains them.

    What it computes costs what the small network costs. Its BatchNorms use each batch's statistics while training.

    Args:
        part: taken over; its module loses its weights.
    """

    def __init__(self, part: Part) -> None:
        self._module = _without_weights(part.module).train()
        self._slices = part.slices

    def __call__(self, shared: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, num_classes) of ``images`` (n, c, h, w), computed with parts of ``shared``."""
        weights = {name: self._slices[name](parameter) for name, parameter in shared.named_parameters()}
        buffers = {name: buffer.to(images.device) for name, buffer in self._module.named_buffers()}
        logits: torch.Tensor = functional_call(self._module, {**weights, **buffers}, (images,))
        return logits


class Sandwich:
    """The loss of one step: the widest on its labels, the narrowest and random sub-networks on the widest's answers.

    Which ones are random is drawn from torch's global generator, as dropout is.

    Args:
        narrowest: the sub-network of every step.
        count: how many others there are.
        other: returns the i-th of them, 0 <= i < count.
        recipe: its temperature and weight are those of the sub-networks' distillation.
        loss: of outputs and labels; what the widest learns by.
    """

    def __init__(
        self,
        narrowest: Part,
        count: int,
        other: Callable[[int], Part],
        recipe: Recipe,
        loss: Loss = functional.cross_entropy,
    ) -> None:
        self._narrowest = SharedPart(narrowest)
        self._count = count
        self._other = lru_cache(_REMEMBERED_PARTS)(lambda index: SharedPart(other(index)))
        self._recipe = recipe
        self._loss = loss

    def __call__(self, module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses, a scalar; arguments as for :class:`scbp_host.training.objective.Objective`."""
        widest = module(images)
        answers = widest.detach().float()
        drawn = torch.randint(self._count, (RANDOM_PARTS,)).tolist()
        loss = self._loss(widest, labels)
        for part in (self._narrowest, *map(self._other, drawn)):
            logits = part(module, images).float()
            loss = loss + distillation_loss(
                logits, answers, labels, self._recipe.distill_temperature, self._recipe.distill_weight, self._loss
            )
        return loss


def train_supernet(
    module: nn.Module,
    task: Task,
    recipe: Recipe,
    random_seed: int,
    narrowest: Part,
    count: int,
    other: Callable[[int], Part],
    on_epoch: OnEpoch = ignore_epoch,
    checkpoint: Path | None = None,
) -> TrainResult | Failure:
    """Train ``module`` in place so that its sub-networks work as well.

    Args:
        module: the trained seed, or a copy of it; as for :func:`scbp_host.training.trainer.train`.
        task: as there.
        recipe: its temperature and weight are those of the sub-networks' distillation from the widest.
        random_seed: as there; it also decides which sub-networks are drawn.
        narrowest: the sub-network of every step.
        count: how many others there are.
        other: returns the i-th of them, 0 <= i < count.
        on_epoch: as there; the accuracy is that of the widest.
        checkpoint: as there.
    """
    sandwich = Sandwich(narrowest, count, other, recipe, task.loss)
    return train(module, task, recipe, random_seed, None, on_epoch, objective=sandwich, checkpoint=checkpoint)


def estimate_top1(part: Part, shared: nn.Module, task: Task) -> float:
    """Return the validation accuracy, in [0, 1], of the sub-network that takes its weights from ``shared``.

    It is the task's metric. The BatchNorm statistics are those of up to ``CALIBRATION_IMAGES`` training images. Nothing
    is trained.

    Args:
        part: its module is given the shared weights.
        shared: trained by :func:`train_supernet`; stays as it is.
        task: the training and validation splits are read.
    """
    state = shared.state_dict()
    part.module.load_state_dict({name: take(state[name]) for name, take in part.slices.items()})
    module = part.module.to(training_device())
    recalibrate_batch_norm(module, _spread(task.train).images)
    return evaluate(module, task.validation, task.metric)


def _spread(examples: Examples) -> Split:
    # Evenly from all: the images of a folder lie class by class.
    count = min(CALIBRATION_IMAGES, len(examples))
    return examples.part(np.linspace(0, len(examples) - 1, count).astype(np.int64))


def _without_weights(module: nn.Module) -> nn.Module:
    """Replace every parameter by one without memory: hundreds of sub-networks' own weights would fill it."""
    for layer in module.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(parameter.detach().to("meta"), requires_grad=False))
    return module
