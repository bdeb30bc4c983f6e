"""Running a module over many images, outside training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scbp_host.tasks.base import Examples
from scbp_host.tasks.classification import TOP1
from scbp_host.tasks.metric import Metric

_BATCH_SIZE = 256
# Images in memory at a time, where a data set is not; whole batches.
PART_SIZE = 4 * _BATCH_SIZE


def predict(module: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (n, num_classes) of ``images`` (n, c, h, w), computed in eval mode where the module lies."""
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        parts = [module(batch.to(device)).float().cpu() for batch in torch.split(torch.from_numpy(images), _BATCH_SIZE)]
    module.train(was_training)
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def evaluate(module: nn.Module, examples: Examples, metric: Metric = TOP1) -> float:
    """Return the accuracy of ``module`` on ``examples``, in [0, 1], by ``metric``."""
    parts = [(predict(module, part.images), part.labels) for part in examples.parts(PART_SIZE)]
    outputs, labels = (np.concatenate(own) for own in zip(*parts, strict=True))
    return metric(outputs, labels)


def recalibrate_batch_norm(module: nn.Module, images: NDArray[np.float32]) -> None:
    """Replace every BatchNorm's running statistics by those of ``images`` (n, c, h, w), n > 1, as the module is now.

    Channels that pruning removed changed what the layers behind them see. The statistics are plain averages over the
    batches, no weight changes; the module is left in eval mode.
    """
    norms = batch_norms(module)
    momenta = [norm.momentum for norm in norms]
    device = next(module.parameters()).device
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
        norm.train()
    with torch.inference_mode():
        for batch in batches(torch.from_numpy(images), _BATCH_SIZE):
            module(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return every BatchNorm of ``module``."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def batches(items: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Split ``items`` along the first axis into even parts of at least ``size`` (all of them in one where fewer).

    No small rest is left over: BatchNorm's statistics over 2 images are noise, and over one image of 1x1 it raises.
    """
    return list(torch.tensor_split(items, max(1, len(items) // size)))
