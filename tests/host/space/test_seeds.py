from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scbp_host.errors import ModelError, UnknownNameError, UsageError
from scbp_host.space.heads import DENSE
from scbp_host.space.seeds import build_seed, load_weights, seed_names, seed_spec

SHAPE = (3, 32, 32)

FACTORIES = """
import torch

def net(num_classes, width=4):
    stem, head = torch.nn.Conv2d(3, width, 3), torch.nn.Linear(width, num_classes)
    return torch.nn.Sequential(stem, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head)

class Twice(torch.nn.Conv2d):
    def forward(self, images):
        return super().forward(images), super().forward(images)

def two_headed(num_classes):
    return Twice(3, num_classes, 3)

class Averaging(torch.nn.Conv2d):
    def forward(self, images):
        return super().forward(images).mean(dim=0)

def averaging(num_classes):
    return Averaging(3, num_classes, 3)

def broken(num_classes):
    raise KeyError("no such block")

def not_a_module(num_classes):
    return num_classes
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_factories"


def test_names_are_classifiers_and_the_dense_networks_known() -> None:
    names = set(seed_names()) - set(DENSE)
    assert {"resnet18", "mobilenet_v3_small"} <= names
    assert not [name for name in names if "rcnn" in name or "deeplab" in name or "raft" in name or "quantized" in name]


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no model 'resnet81' .*did you mean 'resnet18'"):
        seed_spec("resnet81", 10, SHAPE)


@pytest.mark.parametrize(("num_classes", "shape"), [(1, SHAPE), (10, (3, 0, 32)), (10, (3, 32))])
def test_impossible_seeds_are_refused(num_classes: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        seed_spec("resnet18", num_classes, shape)


def test_random_seed_decides_the_weights_and_spares_the_global_generator() -> None:
    spec = seed_spec("squeezenet1_1", 10, SHAPE)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (build_seed(spec, random_seed).state_dict() for random_seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_own_factory_gets_classes_and_arguments(factories: str) -> None:
    module = build_seed(seed_spec(f"{factories}:net", 7, SHAPE, {"width": 6}))
    assert module(torch.zeros(2, *SHAPE)).shape == (2, 7)
    assert module.get_submodule("0").out_channels == 6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two_headed", r"expected a tensor of shape \(1, ...\) for one image, got tuple"),
        ("averaging", r"expected a tensor of shape \(1, ...\) for one image, got \(7, 30, 30\)"),
        ("broken", "cannot be built: 'no such block'"),
        ("not_a_module", "expected a torch.nn.Module, got int"),
    ],
)
def test_factory_that_gives_no_network_is_named(factories: str, name: str, says: str) -> None:
    with pytest.raises(ModelError, match=f"{factories}:{name}.*{says}"):
        build_seed(seed_spec(f"{factories}:{name}", 7, SHAPE))


@pytest.mark.parametrize("factory", ["no_such_package:net", "math:no_such_name", "math:pi", ":net"])
def test_factory_that_cannot_be_imported_is_named(factory: str) -> None:
    with pytest.raises(ModelError, match=factory):
        seed_spec(factory, 7, SHAPE)


def test_auxiliary_classifiers_are_refused_by_name() -> None:
    spec = seed_spec("googlenet", 10, (3, 64, 64), {"aux_logits": True})
    with pytest.raises(ModelError, match=r"googlenet.*auxiliary"):
        build_seed(spec)


def test_input_too_small_for_the_model_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"alexnet.*\(3, 8, 8\)") as caught:
        build_seed(seed_spec("alexnet", 10, (3, 8, 8)))
    assert "\n" not in caught.value.message


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["3.bias"]


def _add(state: dict[str, torch.Tensor]) -> None:
    state["more"] = torch.zeros(1)


def _reshape(state: dict[str, torch.Tensor]) -> None:
    state["3.bias"] = torch.zeros(8)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop, "'3.bias' is missing"),
        (_add, "'more' is not part"),
        (_reshape, r"'3.bias' has shape \(8,\), expected \(7,\)"),
    ],
)
def test_weights_of_another_model_are_refused(factories: str, tmp_path: Path, damage: object, says: str) -> None:
    module = build_seed(seed_spec(f"{factories}:net", 7, SHAPE))
    state = dict(module.state_dict())
    damage(state)  # type: ignore[operator]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=says):
        load_weights(module, tmp_path / "w.safetensors")


def test_weights_load_exactly(factories: str, tmp_path: Path) -> None:
    spec = seed_spec(f"{factories}:net", 7, SHAPE)
    first, second = build_seed(spec, 1), build_seed(spec, 2)
    save_file(first.state_dict(), tmp_path / "w.safetensors")
    load_weights(second, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"not safetensors", None])
def test_unreadable_weights_are_one_line(factories: str, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.safetensors: not a readable safetensors file"):
        load_weights(build_seed(seed_spec(f"{factories}:net", 7, SHAPE)), path)
