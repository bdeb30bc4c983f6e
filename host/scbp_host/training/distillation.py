"""Learning from the seed: the knowledge-distillation loss."""

from __future__ import annotations

import hashlib

import torch
from torch import nn
from torch.nn import functional

from scbp_host.tasks.metric import Loss

# What remembered answers may take: all of a small data set's, and no more of a large one's.
MEMORY_BYTES = 256 * 1024**2


class RememberingTeacher(nn.Module):
    """A teacher that computes the answer to each batch once, on the CPU.

    Trainings with one random seed draw the same augmented batches, so the second candidate's teacher has said it all
    before. Answers are found by the hash of the batch itself: they can never be another batch's. On a GPU the way to
    the hash would cost more than the answer, and nothing is remembered.

    Args:
        teacher: a trained module in eval mode.
        memory_bytes: when the answers take this, later batches are answered without being remembered.
    """

    def __init__(self, teacher: nn.Module, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__()
        self.teacher = teacher
        self._left_bytes = memory_bytes
        self._answers: dict[bytes, torch.Tensor] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the teacher's logits (n, num_classes) for ``images`` (n, c, h, w), without gradient."""
        if images.device.type != "cpu":
            return self._ask(images)
        key = hashlib.blake2b(images.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self._answers:
            answers = self._ask(images)
            size_bytes = answers.numel() * answers.element_size()
            if size_bytes > self._left_bytes:
                return answers
            self._left_bytes -= size_bytes
            self._answers[key] = answers
        return self._answers[key]

    def _ask(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answers: torch.Tensor = self.teacher(images)
        return answers


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
    weight: float,
    loss: Loss = functional.cross_entropy,
) -> torch.Tensor:
    """Mix the teacher's softened answers with the labels.

    ``weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) * loss(student, labels)``;
    T^2 keeps the soft gradients' size independent of T (Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015, section 2).

    Args:
        student: logits (n, num_classes, ...), where there may be one for each of several positions.
        teacher: of the same batch and shape, without gradient.
        labels: (n, ...), as ``loss`` takes them.
        temperature: T > 0.
        weight: the teacher's share, in [0, 1].
        loss: of outputs and labels, a mean.

    Returns:
        the mean over the batch and its positions, a scalar.
    """
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="sum",
        log_target=True,
    )
    soft = soft / (student.numel() // student.shape[1])
    return weight * temperature**2 * soft + (1.0 - weight) * loss(student, labels)
