"""The time of every node by the real agent, and the layers of a real export that it is charged to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.measurement import NodeLatency
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.layers import LayerSettings, charge_layers, measure_layers, module_path
from scbp_host.profiles import load_profile
from scbp_host.space.seeds import build_seed, seed_spec

QUICK = LayerSettings(warmup_runs=1, runs=3, timeout_s=60.0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[DeviceClient]:
    with open_device(replace(load_profile("local"), workdir=str(tmp_path / "agent"))) as client:
        yield client


class Block(nn.Module):
    """A convolution whose activation is fused into it, one that is called twice, a pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU()))
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        x = torch.relu(x + self.twice(torch.relu(self.twice(x))))
        return self.head(x.mean((2, 3)))


def names_of(module: nn.Module) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def export(module: nn.Module, side: int) -> bytes:
    return structure_onnx(module.eval(), (3, side, side), opset=13, ir_version=7)


def block() -> nn.Module:
    return Block()


def mobilenet() -> nn.Module:
    return build_seed(seed_spec("mobilenet_v3_small", 10, (3, 32, 32)), random_seed=0)


def densenet() -> nn.Module:
    return build_seed(seed_spec("densenet121", 10, (3, 32, 32)), random_seed=0)


@pytest.mark.parametrize("make", [block, mobilenet, densenet], ids=lambda own: own.__name__)
def test_every_layer_of_an_export_is_found_among_the_nodes_executed(
    client: DeviceClient, make: Callable[[], nn.Module]
) -> None:
    module = make()
    onnx = export(module, 32)
    nodes = measure_layers(client, onnx, None, pack=True, settings=QUICK)
    assert not isinstance(nodes, Failure)
    charged = charge_layers(nodes, onnx, names_of(module))
    assert set(charged.latency_ns) == set(names_of(module))
    assert sum(charged.latency_ns.values()) == sum(node.latency_ns for node in nodes), "no time is lost"


def test_the_inputs_reach_the_device(client: DeviceClient) -> None:
    onnx = export(Block(), 8)
    assert not isinstance(
        measure_layers(client, onnx, np.zeros((2, 3, 8, 8), "f4"), pack=True, settings=QUICK), Failure
    )
    failure = measure_layers(client, onnx, np.zeros((2, 3, 9, 9), "f4"), pack=True, settings=QUICK)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_MODEL


def charge(*nodes: tuple[str, int]) -> tuple[dict[str, int], float]:
    module = Block()
    charged = charge_layers([NodeLatency(name, "", ns) for name, ns in nodes], export(module, 8), names_of(module))
    return dict(charged.latency_ns), charged.unattributed_share


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("/body/body.0/Conv", "body.0"),
        ("/body/body.0/Conv_output_0_nchwc", "body.0"),
        ("/body/body.1/body.1.1/Relu_output_0_nchwc", "body.1.0"),
        ("fused /body/body.1/body.1.0/Conv_token_12", "body.1.0"),
        ("/twice_1/Conv", "twice"),
        ("/Add", "twice"),
        ("/head/Gemm/MatMulAddFusion", "head"),
        ("/ReduceMean", "twice"),
        ("/body/body.1/body.1.0/Conv + /body/body.1/body.1.1/Relu", "body.1.0"),
        ("PWN(/body/body.1/body.1.1/Relu)", "body.1.0"),
        ("Reformatting CopyNode for Input Tensor 0 to /head/Gemm", "head"),
        ("{ForeignNode[/body/body.0/Conv.../ReduceMean]}", "body.0"),
    ],
)
def test_the_runtimes_names_are_understood(name: str, layer: str) -> None:
    assert charge((name, 5)) == ({layer: 5}, 0.0)


def test_what_says_nothing_goes_to_the_layer_before_it_and_is_counted() -> None:
    times = charge(("ReorderInput", 1), ("/body/body.0/Conv", 5), ("ReorderOutput_token_3", 2), ("/head/Gemm", 2))
    assert times == ({"body.0": 8, "head": 2}, 0.3)


def test_where_no_name_is_known_nothing_is_charged() -> None:
    assert charge(("a", 1), ("b", 2)) == ({}, 1.0)
    assert charge() == ({}, 0.0)


def test_a_childs_scope_repeats_its_parents() -> None:
    assert module_path("/features/features.1/block/block.2/block.2.0/Conv") == "features.1.block.2.0"
    assert module_path("/layers.0/conv/Conv") == "layers.0.conv"
    assert module_path("/Flatten") == ""
