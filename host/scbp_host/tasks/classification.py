"""Metrics of a classification task, over logits from wherever they come: torch, or the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.errors import DataError
from scbp_host.tasks.metric import Metric


def top1(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Return the share of images whose largest logit is their label's.

    Args:
        logits: (n, num_classes); a row with a NaN counts as wrong.
        labels: (n,).

    Raises:
        DataError: shapes that do not belong together, or no image.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise DataError(f"top-1: logits of shape {logits.shape} do not belong to labels of shape {labels.shape}")
    correct = (np.argmax(logits, axis=1) == labels) & ~np.isnan(logits).any(axis=1)
    return float(np.mean(correct))


TOP1 = Metric("top-1", top1)
