"""A seed small enough to train in a second: two stages, one residual. A user's own factory, as far as scbp knows."""

import torch
from torch import nn
from torch.nn import functional


def normed(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class TinyNet(nn.Module):
    """Channels at half the resolution with a residual, twice as many at a quarter."""

    def __init__(self, num_classes: int, channels: int = 16) -> None:
        super().__init__()
        self.stem = normed(1, channels, 2)
        self.residual = normed(channels, channels, 1)
        self.down = normed(channels, 2 * channels, 2)
        self.classifier = nn.Linear(2 * channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        stem = functional.relu(stem + self.residual(stem))
        return self.classifier(self.down(stem).flatten(2).amax(dim=2))


def maps(num_classes: int) -> nn.Module:
    """Logits for every pixel."""
    features = (normed(1, 32, 1), normed(32, 64, 2), normed(64, 64, 1), nn.Upsample(scale_factor=2))
    return nn.Sequential(*features, nn.Conv2d(64, num_classes, 1))


def factory(num_classes: int) -> nn.Module:
    return TinyNet(num_classes)


def wide(num_classes: int) -> nn.Module:
    """Every narrower network is faster, whatever else the machine does: the smallest's ratios are near one."""
    return TinyNet(num_classes, 64)
