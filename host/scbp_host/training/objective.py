"""What a training step makes smaller."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from scbp_host.tasks.metric import Loss
from scbp_host.training.distillation import distillation_loss


class Objective(Protocol):
    """The loss of one batch."""

    def __call__(self, module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over the batch, a scalar.

        Args:
            module: in training mode.
            images: (n, c, h, w), augmented, where ``module`` lies.
            labels: int64 (n,).
        """
        ...


class Supervised:
    """The task's loss against the labels, and distillation where there is a teacher.

    Args:
        loss: of outputs and labels.
        teacher: a trained module where the images lie, in eval mode; None learns from labels only.
        temperature: softens teacher and student.
        weight: the teacher's share of the loss, in [0, 1].
    """

    def __init__(self, loss: Loss, teacher: nn.Module | None, temperature: float, weight: float) -> None:
        self._loss = loss
        self._teacher = teacher
        self._temperature = temperature
        self._weight = weight

    def __call__(self, module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See :class:`Objective`."""
        logits = module(images)
        if self._teacher is None:
            return self._loss(logits, labels)
        with torch.no_grad():
            answers = self._teacher(images)
        return distillation_loss(logits.float(), answers.float(), labels, self._temperature, self._weight, self._loss)
