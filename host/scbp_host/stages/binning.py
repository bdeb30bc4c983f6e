"""The superblocks of one run: binned once, acknowledged, and read back by a resumed run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.config import BinningMethod, RunConfig
from scbp_host.device.client import DeviceClient
from scbp_host.domain.candidate import ChannelGroup, Superblock
from scbp_host.domain.measurement import LayerLatencies
from scbp_host.domain.outcome import Failure
from scbp_host.errors import CapabilityError, DeviceError
from scbp_host.events import StageStarted
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.layers import charge_layers, measure_layers
from scbp_host.space.seeds import build_seed
from scbp_host.space.superblocks import Binning, bin_layers
from scbp_host.space.survey import Survey
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import BINNING
from scbp_host.transport.base import probe_hint

_SUBJECT = "superblocks"


def bin_offline(survey: Survey, config: RunConfig) -> Binning:
    """Bin without a device; raises UsageError for what no device could mend.

    In the place of latency, which has to be measured, stand equal shares of MACs: as many superblocks, of other layers.
    """
    by = "macs" if config.binning == "latency" else config.binning
    return bin_layers(survey, by, config.superblocks)


def acknowledge_superblocks(context: RunContext, survey: Survey) -> tuple[Superblock, ...]:
    """Return the run's superblocks: those acknowledged, or else new ones.

    Raises:
        DeviceError: the layers have to be timed, and cannot be.
    """
    begun = context.ledger.payloads("space")
    if begun and not context.ledger.payloads(BINNING):
        # Begun by a release that knew stages alone, and kept them with the space.
        return _superblocks(begun["space"])
    return _superblocks(context.ledger.must(BINNING, _SUBJECT, lambda: _bin(context, survey)))


def time_layers(client: DeviceClient, survey: Survey, inputs: NDArray[np.float32] | None) -> LayerLatencies:
    """Time every layer of the seed, untrained, on the device.

    Args:
        client: a connected device.
        survey: the seed.
        inputs: ``(n, channels, height, width)`` float32; None means seeded noise.

    Raises:
        DeviceError: the device could not, or its runtime's names do not say which layers they are.
    """
    profile, spec = client.profile, survey.seed
    module = build_seed(spec, random_seed=0)
    onnx = structure_onnx(module, spec.input_shape, opset=profile.opset, ir_version=profile.ir_version)
    nodes = measure_layers(client, onnx, inputs, pack=True)
    if isinstance(nodes, Failure):
        message = f"{profile.name}: the layers cannot be timed: {nodes.kind}: {nodes.message}"
        raise DeviceError(message, nodes.hint or probe_hint(profile.name))
    charged = charge_layers(nodes, onnx, [layer.name for layer in survey.layers])
    if not charged.latency_ns:
        message = f"{profile.name}: {profile.runtime} does not say which layers its times are of"
        raise CapabilityError(message, "bin by stage, params or macs")
    return charged


def binning_name(binning: BinningMethod | Mapping[str, Any]) -> str:
    """Return the method's name; ``names`` for an explicit table."""
    return "names" if isinstance(binning, Mapping) else binning


def _bin(context: RunContext, survey: Survey) -> Payload:
    config, shipped_before = context.config, context.client.bytes_shipped
    times: Payload = {"latency_ns": None, "unattributed_share": None}
    if config.binning == "latency":
        context.listen(StageStarted(BINNING, f"time every layer of {survey.seed.factory}"))
        times = asdict(time_layers(context.client, survey, context.timing_images))
    binning = bin_layers(survey, config.binning, config.superblocks, times["latency_ns"])
    return {
        "method": binning_name(config.binning),
        **asdict(binning),
        **times,
        "bytes_shipped": context.client.bytes_shipped - shipped_before,
    }


def _superblocks(payload: Payload) -> tuple[Superblock, ...]:
    return tuple(
        Superblock(
            block["name"],
            (int(block["resolution"][0]), int(block["resolution"][1])),
            tuple(ChannelGroup(**_tuples(group)) for group in block["groups"]),
        )
        for block in payload["superblocks"]
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
