from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from scbp_host.training.distillation import RememberingTeacher, distillation_loss

STUDENT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
TEACHER = torch.tensor([[2.0, 0.0, -1.0], [-1.0, 1.0, 1.5]])
LABELS = torch.tensor([0, 2])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_formula_against_numpy(temperature: float) -> None:
    student, teacher = STUDENT.double().numpy(), TEACHER.double().numpy()
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    divergence = (p * np.log(p / q)).sum(axis=1).mean()
    cross_entropy = -np.log(softmax(student)[[0, 1], [0, 2]]).mean()
    expected = 0.7 * temperature**2 * divergence + 0.3 * cross_entropy
    assert float(distillation_loss(STUDENT, TEACHER, LABELS, temperature, 0.7)) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_equals_its_teacher_has_only_the_labels_to_learn() -> None:
    loss = distillation_loss(STUDENT, STUDENT, LABELS, 4.0, 0.25)
    assert float(loss) == pytest.approx(0.75 * float(functional.cross_entropy(STUDENT, LABELS)), rel=1e-6)


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images.flatten(1)[:, :2] * 3.0


def test_a_teacher_remembers_batches_by_what_is_in_them() -> None:
    counting = _Counting()
    teacher = RememberingTeacher(counting)
    batch = torch.arange(48.0).reshape(2, 3, 2, 4)
    first = teacher(batch)
    assert torch.equal(teacher(batch.clone().contiguous(memory_format=torch.channels_last)), first)
    assert counting.calls == 1
    assert not torch.equal(teacher(batch + 1), first)
    assert counting.calls == 2


def test_a_teacher_with_a_full_memory_still_answers() -> None:
    counting = _Counting()
    teacher = RememberingTeacher(counting, memory_bytes=0)
    batch = torch.ones(2, 1, 2, 2)
    assert torch.equal(teacher(batch), teacher(batch))
    assert counting.calls == 2
