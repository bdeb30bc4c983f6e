from __future__ import annotations

import numpy as np
import pytest

from scbp_host.errors import DataError
from scbp_host.tasks.augmentation import make_augmentation
from scbp_host.tasks.splitting import Pictures, Role, make_task, split_rows


def test_what_is_held_back_is_a_tenth_of_each_class_and_one_image_at_least() -> None:
    labels = np.repeat([0, 1, 2], [25, 4, 60])
    roles = np.full(len(labels), Role.TRAIN, dtype=np.int8)
    train, validation, test = split_rows(labels, roles)
    assert np.bincount(labels[test]).tolist() == [2, 1, 5]
    assert sorted(np.concatenate([train, validation, test])) == list(range(len(labels)))
    assert np.bincount(labels[validation]).tolist() == [2, 1, 6]


def test_a_split_that_comes_out_empty_is_named() -> None:
    images, labels = np.zeros((2, 1, 2, 2), np.float32), np.arange(2)
    pictures = Pictures(images, labels, ("a", "b"), b"", np.zeros(2, np.int8))
    with pytest.raises(DataError, match="few: expected images for train, found none"):
        make_task("few", pictures, (1, 2, 2), make_augmentation("none", (2, 2)))
