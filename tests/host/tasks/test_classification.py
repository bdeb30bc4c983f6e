from __future__ import annotations

import numpy as np
import pytest

from scbp_host.errors import DataError
from scbp_host.tasks.classification import top1


def test_top1_is_the_share_of_largest_logits_that_are_the_label() -> None:
    logits = np.array([[0.1, 0.9], [2.0, -1.0], [0.0, 3.0], [5.0, 4.0]], dtype=np.float32)
    assert top1(logits, np.array([1, 0, 0, 0])) == 0.75


def test_a_row_with_a_nan_is_wrong() -> None:
    assert top1(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 0])) == 0.5


@pytest.mark.parametrize(("shape", "count"), [((3, 2), 2), ((3,), 3), ((0, 2), 0)])
def test_shapes_that_do_not_belong_together(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(DataError):
        top1(np.zeros(shape), np.zeros(count, dtype=np.int64))
