"""What a candidate is: a seed, a width for every coupled channel group, and where those widths came from."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class SeedSpec:
    """The network every candidate is derived from.

    Attributes:
        factory: a torchvision classifier's name, or ``package.module:factory``.
        num_classes: outputs of the classifier.
        input_shape: (channels, height, width) of one image.
        kwargs: further keyword arguments of the factory.
    """

    factory: str
    num_classes: int
    input_shape: tuple[int, int, int]
    kwargs: tuple[tuple[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return {
            "factory": self.factory,
            "num_classes": self.num_classes,
            "input_shape": list(self.input_shape),
            "kwargs": dict(self.kwargs),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SeedSpec:
        """Rebuild from :meth:`to_json`'s form."""
        channels, height, width = data["input_shape"]
        return cls(
            data["factory"],
            int(data["num_classes"]),
            (int(channels), int(height), int(width)),
            tuple(sorted(data.get("kwargs", {}).items())),
        )


@dataclass(frozen=True)
class ChannelGroup:
    """Convolutions whose output channels must be kept or removed together.

    Attributes:
        name: the first of ``layers`` in forward order; the group's identity.
        channels: the seed's width.
        layers: names of the convolutions that produce these channels, in forward order.
        unit: channels of ``name`` that go together, such as one group of a grouped convolution.
        other_widths: the seed's widths, other than ``channels``, that shrink in proportion with it: of a layer before
            a pixel shuffle, or of one group of a grouped convolution.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    unit: int = 1
    other_widths: tuple[int, ...] = ()

    def width_step(self, channel_step: int) -> int:
        """Return the least width of which every multiple makes all coupled widths multiples of ``channel_step``."""
        step = math.lcm(self.unit, channel_step)
        for other in self.other_widths:
            share = Fraction(other, self.channels)
            step = math.lcm(step, share.denominator * channel_step // math.gcd(share.numerator, channel_step))
        return step


@dataclass(frozen=True)
class Superblock:
    """Channel groups that share one width modifier; ``resolution``: the (height, width) most of its layers put out."""

    name: str
    resolution: tuple[int, int]
    groups: tuple[ChannelGroup, ...]


@dataclass(frozen=True)
class Candidate:
    """One point of the space.

    Attributes:
        seed: what it is derived from.
        ratios: width modifier of each superblock, in (0, 1]; provenance, not identity.
        widths: (group name, channels kept) for every channel group, in the seed's order.
    """

    seed: SeedSpec
    ratios: tuple[float, ...]
    widths: tuple[tuple[str, int], ...]
    structure_id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Hash what the device sees: two ratio tuples that give one network are one structure."""
        seen = {"seed": self.seed.to_json(), "widths": [list(pair) for pair in self.widths]}
        digest = hashlib.sha256(json.dumps(seen, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        object.__setattr__(self, "structure_id", digest[:12])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form; :meth:`from_json` is its inverse."""
        return {
            "structure_id": self.structure_id,
            "seed": self.seed.to_json(),
            "ratios": list(self.ratios),
            "widths": dict(self.widths),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Candidate:
        """Rebuild from :meth:`to_json`'s form."""
        return cls(SeedSpec.from_json(data["seed"]), tuple(data["ratios"]), tuple(data["widths"].items()))
