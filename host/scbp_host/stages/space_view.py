"""What a space consists of, before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scbp_host.config import RunConfig
from scbp_host.device.client import open_device
from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.measurement import LayerLatencies
from scbp_host.profiles import load_profile
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import Binning, bin_layers
from scbp_host.space.survey import Layer, Survey, survey_seed
from scbp_host.stages.binning import bin_offline, binning_name, time_layers
from scbp_host.stages.space import configured_space


@dataclass(frozen=True)
class Cost:
    """What some layers of the seed cost; ``latency_ms`` is None where nothing was measured."""

    params: int
    macs: int
    latency_ms: float | None


@dataclass(frozen=True)
class GroupView:
    """A channel group: its convolutions, and the cost of all layers that go with them."""

    name: str
    channels: int
    layers: tuple[str, ...]
    cost: Cost


@dataclass(frozen=True)
class SuperblockView:
    """A superblock; ``channels`` are those of its groups together."""

    name: str
    resolution: tuple[int, int]
    channels: int
    cost: Cost
    groups: tuple[GroupView, ...]


@dataclass(frozen=True)
class SpaceView:
    """A space.

    Attributes:
        seed: what candidates are derived from.
        binning: ``stage``, ``params``, ``macs``, ``latency`` or ``names``.
        device: where the layers were timed; None where they were not.
        superblocks: in forward order.
        head: what is in no superblock, since its width is not for choice: the classifier.
        total: of the whole seed.
        moved: what was moved so that no coupled channels are split, one sentence each.
        unattributed_share: share of the time of nodes that name no layer; None where nothing was measured.
        ratios: offered to every superblock.
        structures: distinct networks that these ratios come out as.
        structures_ci95: of an estimate; None where they were counted.
    """

    seed: SeedSpec
    binning: str
    device: str | None
    superblocks: tuple[SuperblockView, ...]
    head: Cost
    total: Cost
    moved: tuple[str, ...]
    unattributed_share: float | None
    ratios: tuple[float, ...] | str
    structures: int
    structures_ci95: tuple[int, int] | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form."""
        return asdict(self) | {"seed": self.seed.to_json()}


def view_space(config: RunConfig, num_classes: int, *, timed: bool = False) -> SpaceView:
    """Return the space that a run of ``config`` would search.

    Args:
        config: what of it says which space: model, input shape, binning, ratios, device.
        num_classes: outputs of the seed, which a run takes from its data.
        timed: whether to time the layers on the device where the binning does not ask for it.

    Raises:
        UsageError: the configuration does not fit the seed.
        DeviceError: the layers have to be timed, and cannot be.
    """
    profile = load_profile(config.device)
    survey = survey_seed(seed_spec(config.model, num_classes, config.input_shape))
    binning, times = bin_offline(survey, config), None
    if timed or config.binning == "latency":
        times = _time(profile, survey)
        binning = bin_layers(survey, config.binning, config.superblocks, times.latency_ns)
    space = configured_space(config, survey.seed, binning.superblocks, profile)
    size = space.estimate_size(config.random_seed)
    return SpaceView(
        survey.seed,
        binning_name(config.binning),
        profile.name if times else None,
        tuple(_superblocks(survey, binning, times)),
        _cost((layer for layer in survey.layers if layer.name not in survey.owners), times),
        Cost(survey.params, sum(layer.macs for layer in survey.layers), _total_ms(times)),
        binning.moved,
        times.unattributed_share if times else None,
        config.ratios,
        size.value,
        None if size.exact else (size.low, size.high),
    )


def _time(profile: DeviceProfile, survey: Survey) -> LayerLatencies:
    with open_device(profile) as client:
        client.require_runtime(profile.runtime)
        return time_layers(client, survey, None)


def _superblocks(survey: Survey, binning: Binning, times: LayerLatencies | None) -> Iterable[SuperblockView]:
    owned: dict[str, list[Layer]] = {}
    for layer in survey.layers:
        owned.setdefault(survey.owners.get(layer.name, ""), []).append(layer)
    for block in binning.superblocks:
        yield _superblock(block, owned, times)


def _superblock(block: Superblock, owned: Mapping[str, list[Layer]], times: LayerLatencies | None) -> SuperblockView:
    def view(group: ChannelGroup) -> GroupView:
        return GroupView(group.name, group.channels, group.layers, _cost(owned[group.name], times))

    layers = (layer for group in block.groups for layer in owned[group.name])
    channels = sum(group.channels for group in block.groups)
    return SuperblockView(
        block.name, block.resolution, channels, _cost(layers, times), tuple(view(group) for group in block.groups)
    )


def _cost(layers: Iterable[Layer], times: LayerLatencies | None) -> Cost:
    found = list(layers)
    latency_ms = None
    if times is not None:
        latency_ms = sum(times.latency_ns.get(layer.name, 0) for layer in found) / 1e6
    return Cost(sum(layer.params for layer in found), sum(layer.macs for layer in found), latency_ms)


def _total_ms(times: LayerLatencies | None) -> float | None:
    return None if times is None else sum(times.latency_ns.values()) / 1e6
