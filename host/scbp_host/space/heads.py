"""torchvision's segmentation and detection networks as one tensor in, one tensor out: backbone and head, as trained.

What follows them at inference (anchors, thresholds, non-maximum suppression) has no weights, and depends on the data
where a device must not. The head keeps its widths; only the backbone becomes narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional


class SegmentationMaps(nn.Module):
    """Logits (n, num_classes, height, width) of a torchvision segmentation network.

    Args:
        network: with ``backbone`` and ``classifier``; parameters keep its names.
        reads: the feature map that the classifier reads; None if it reads all of them.
    """

    kept_heads = ("classifier",)

    def __init__(self, network: nn.Module, reads: str | None) -> None:
        super().__init__()
        self.backbone: Any = network.backbone
        self.classifier: Any = network.classifier
        self._reads = reads

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one map for each class at the images' size."""
        features = self.backbone(images)
        maps = self.classifier(features if self._reads is None else features[self._reads])
        return functional.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)


class DetectionBoxes(nn.Module):
    """Raw outputs (n, anchors, 4 + num_classes) of a torchvision SSD: box offsets, then class logits.

    Args:
        network: with ``backbone`` and ``head``; parameters keep its names.
    """

    kept_heads = ("head",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone: Any = network.backbone
        self.head: Any = network.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the head says of every anchor."""
        found = self.head(list(self.backbone(images).values()))
        return torch.cat([found["bbox_regression"], found["cls_logits"]], dim=2)


def _without_weights(name: str, num_classes: int, **kwargs: Any) -> nn.Module:
    network: nn.Module = torchvision.models.get_model_builder(name)(
        weights=None, weights_backbone=None, num_classes=num_classes, **kwargs
    )
    return network


def lraspp(num_classes: int, **kwargs: Any) -> nn.Module:
    """Build torchvision's ``lraspp_mobilenet_v3_large``."""
    return SegmentationMaps(_without_weights("lraspp_mobilenet_v3_large", num_classes, **kwargs), reads=None)


def fcn(num_classes: int, **kwargs: Any) -> nn.Module:
    """Build torchvision's ``fcn_resnet50``, without its auxiliary head."""
    return SegmentationMaps(_without_weights("fcn_resnet50", num_classes, aux_loss=False, **kwargs), reads="out")


def ssdlite(num_classes: int, **kwargs: Any) -> nn.Module:
    """Build torchvision's ``ssdlite320_mobilenet_v3_large``; its classes include the background."""
    return DetectionBoxes(_without_weights("ssdlite320_mobilenet_v3_large", num_classes, **kwargs))


DENSE: dict[str, Callable[..., nn.Module]] = {
    "fcn_resnet50": fcn,
    "lraspp_mobilenet_v3_large": lraspp,
    "ssdlite320_mobilenet_v3_large": ssdlite,
}
"""Networks that say something of every place, by torchvision's names."""
