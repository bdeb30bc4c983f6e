"""A network as a user may bring it: everything that ties channels together, in one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Gate(nn.Module):
    """Squeeze and excitation with linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.excite(functional.relu(self.squeeze(x.mean((2, 3)))))
        return x * scale.sigmoid()[:, :, None, None]  # type: ignore[no-any-return]


def shuffled(x: torch.Tensor) -> torch.Tensor:
    """Deal the channels of both halves out in turns, as ShuffleNet does."""
    images, channels, height, width = x.shape
    pairs = x.view(images, 2, channels // 2, height, width).transpose(1, 2)
    return pairs.reshape(images, channels, height, width)


class OwnNet(nn.Module):
    """Residual, concat, grouped and depthwise convolution, squeeze and excitation, split, shuffle, pixel shuffle."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.grouped = nn.Conv2d(width, width, 3, padding=1, groups=8)
        self.few_groups = nn.Conv2d(width, 2 * width, 3, padding=1, groups=2)
        self.gate = Gate(2 * width)
        self.left = nn.Conv2d(2 * width, width, 1)
        self.right = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.joined = nn.Conv2d(3 * width, 2 * width, 1)
        self.branch = nn.Conv2d(width, width, 3, padding=1)
        self.before_upscale = nn.Conv2d(2 * width, 4 * width, 1)
        self.norm = nn.GroupNorm(4, width)
        self.temperature = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        x = x + self.grouped(functional.relu(self.depthwise(x)))
        y = self.gate(self.few_groups(x))
        z = functional.relu(self.joined(torch.cat([self.left(y), self.right(y)], dim=1)))
        kept, changed = shuffled(z).chunk(2, dim=1)
        z = torch.cat([kept, changed + self.branch(changed)], dim=1)
        upscaled = functional.pixel_shuffle(self.before_upscale(functional.max_pool2d(z, 2)), 2)
        mixed = functional.hardswish(self.norm(upscaled) * self.temperature.view(1, -1, 1, 1))
        return self.head(mixed.mean((2, 3)))  # type: ignore[no-any-return]


def factory(num_classes: int, width: int = 32) -> nn.Module:
    """Return the network; ``width`` is the stem's."""
    return OwnNet(num_classes, width)
