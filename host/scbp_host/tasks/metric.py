"""What a task is trained by and judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scbp_host.errors import DataError

_HINT = "score takes numpy arrays and returns a share in [0, 1], more is better; see docs/data.md"

# (outputs (n, ...), labels (n, ...)) -> the mean loss over the batch, a scalar with a gradient.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Metric:
    """What accuracy means for a task.

    Attributes:
        name: as reports call it.
        score: (outputs (n, ...), labels (n, ...)) -> a share in [0, 1], of which more is better.
    """

    name: str
    score: Callable[[NDArray[np.floating[Any]], NDArray[Any]], float]

    def __call__(self, outputs: NDArray[np.floating[Any]], labels: NDArray[Any]) -> float:
        """Return the score; raises DataError where it is no share."""
        on = f"outputs {outputs.dtype} {outputs.shape} and labels {labels.dtype} {labels.shape}"
        try:
            share = float(self.score(outputs, labels))
        except Exception as error:  # the score may be the user's own code, which may raise anything
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise DataError(f"metric {self.name!r} fails on {on}: {reason}", _HINT) from error
        if not 0.0 <= share <= 1.0:  # also refuses NaN
            raise DataError(f"metric {self.name!r}: expected a share in [0, 1], got {share:g} of {on}", _HINT)
        return share
