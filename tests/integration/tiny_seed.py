"""A seed small enough to train in a second: two stages, one residual. A user's own factory, as far as scbp knows."""

import torch
from torch import nn
from torch.nn import functional


def normed(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class TinyNet(nn.Module):
    """16 channels at half the resolution with a residual, 32 at a quarter."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = normed(1, 16, 2)
        self.residual = normed(16, 16, 1)
        self.down = normed(16, 32, 2)
        self.classifier = nn.Linear(32, num_classes)

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
