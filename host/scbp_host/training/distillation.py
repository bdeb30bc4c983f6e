"""Learning from the seed: the knowledge-distillation loss."""

from __future__ import annotations

import torch
from torch.nn import functional


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float, weight: float
) -> torch.Tensor:
    """Mix the teacher's softened answers with the labels.

    ``weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) * cross_entropy(student, labels)``;
    T^2 keeps the soft gradients' size independent of T (Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015, section 2).

    Args:
        student: logits (n, num_classes).
        teacher: logits (n, num_classes) of the same batch, without gradient.
        labels: int64 (n,).
        temperature: T > 0.
        weight: the teacher's share, in [0, 1].

    Returns:
        the mean over the batch, a scalar.
    """
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return weight * temperature**2 * soft + (1.0 - weight) * functional.cross_entropy(student, labels)
