"""A ResNet of four stages of one block each: small enough to be trained by the hundred on one core."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock

STAGES = 4


def factory(num_classes: int, width: int = 32) -> nn.Module:
    """Return the network; ``width`` is the first stage's, and each stage's is twice the one before it."""
    widths = [width << stage for stage in range(STAGES)]
    stem = [nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    pairs = zip([width, *widths], widths, strict=False)
    blocks = [_block(given, kept, stride=1 if stage == 0 else 2) for stage, (given, kept) in enumerate(pairs)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))


def _block(given: int, kept: int, stride: int) -> nn.Module:
    if given == kept and stride == 1:
        return BasicBlock(given, kept)
    shortcut = nn.Sequential(nn.Conv2d(given, kept, 1, stride=stride, bias=False), nn.BatchNorm2d(kept))
    return BasicBlock(given, kept, stride, shortcut)
