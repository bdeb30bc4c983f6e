from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.derive import derive, load_candidate, rebuild, save_candidate
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage

SPEC = seed_spec("resnet18", 10, (3, 32, 32))
RATIOS = (0.75, 0.5, 0.25, 0.5)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.uniform(SPEC, bin_by_stage(SPEC), (1.0, 0.75, 0.5, 0.25), 8)


def seed(random_seed: int = 1) -> nn.Module:
    """A seed whose BatchNorms are not the identity, as after training."""
    module = build_seed(SPEC, random_seed)
    generator = torch.Generator().manual_seed(random_seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data = 0.5 + torch.rand(layer.num_features, generator=generator)
            layer.bias.data = torch.randn(layer.num_features, generator=generator) / 10
            layer.running_mean = torch.randn(layer.num_features, generator=generator) / 10
            layer.running_var = 0.5 + torch.rand(layer.num_features, generator=generator)
    return module


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(images())  # type: ignore[no-any-return]


def conv(module: nn.Module, name: str) -> nn.Conv2d:
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


@pytest.mark.parametrize("inherits", [False, True])
def test_every_layer_of_every_group_has_the_candidates_width(space: SearchSpace, inherits: bool) -> None:
    candidate = space.candidate(RATIOS)
    module = derive(candidate, seed() if inherits else None)
    widths = dict(candidate.widths)
    for block in space.superblocks:
        for group in block.groups:
            assert {conv(module, layer).out_channels for layer in group.layers} == {widths[group.name]}
    assert logits(module).shape == (4, 10)


def test_removing_channels_that_do_nothing_changes_no_output(space: SearchSpace) -> None:
    """Silence some channels in every layer of their group: they must be the ones that go, and nothing else may."""
    candidate, source = space.candidate(RATIOS), seed()
    widths, groups = dict(candidate.widths), [group for block in space.superblocks for group in block.groups]
    generator = torch.Generator().manual_seed(9)
    for group in groups:
        silent = torch.randperm(group.channels, generator=generator)[widths[group.name] :]
        for layer in group.layers:
            _silence(source, layer, silent)
    difference = (logits(derive(candidate, source)) - logits(source)).abs().max()
    assert difference <= 1e-5 * logits(source).abs().max()


def _silence(module: nn.Module, layer: str, channels: torch.Tensor) -> None:
    norm_name = layer.replace("conv", "bn") if "conv" in layer else layer.replace("downsample.0", "downsample.1")
    norm = module.get_submodule(norm_name)
    assert isinstance(norm, nn.BatchNorm2d)
    for parameter in (conv(module, layer).weight, norm.weight, norm.bias):
        parameter.data[channels] = 0.0


def test_the_source_stays_as_it_is(space: SearchSpace) -> None:
    source = seed()
    before = copy.deepcopy(source.state_dict())
    derive(space.candidate(RATIOS), source)
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items())


def test_ratio_one_everywhere_is_the_seed_itself(space: SearchSpace) -> None:
    source = seed()
    assert torch.equal(logits(derive(space.candidate((1.0,) * 4), source)), logits(source))


def test_inherited_weights_are_those_of_the_channels_kept(space: SearchSpace) -> None:
    source = seed()
    name = "layer4.1.conv1"
    candidate = Candidate(SPEC, (1.0,), ((name, 128),))
    kept = conv(derive(candidate, source), name).weight
    original = {row.numpy().tobytes() for row in conv(source, name).weight.detach()}
    assert all(row.numpy().tobytes() in original for row in kept.detach())
    assert kept.shape[0] == 128


@pytest.mark.parametrize(
    ("factory", "side"), [("mobilenet_v3_small", 64), ("squeezenet1_1", 64), ("efficientnet_b0", 32)]
)
def test_other_architectures_derive_at_their_widths(factory: str, side: int) -> None:
    spec = seed_spec(factory, 10, (3, side, side))
    blocks = bin_by_stage(spec)
    candidate = SearchSpace.uniform(spec, blocks, (0.5,), 8).candidate((0.5,) * len(blocks))
    module, widths = derive(candidate), dict(candidate.widths)
    for group in (group for block in blocks for group in block.groups):
        assert {conv(module, layer).out_channels for layer in group.layers} == {widths[group.name]}


@pytest.mark.parametrize(
    ("widths", "says"),
    [
        ((("conv1", 65),), "'conv1': expected a width from 1 to 64, got 65"),
        ((("conv1", 0),), "'conv1': expected a width from 1 to 64, got 0"),
        ((("stem", 8),), "no channel group 'stem'"),
        ((("fc", 8),), "no channel group 'fc'"),
        ((("layer1.0.conv2", 8),), "no channel group 'layer1.0.conv2'"),
    ],
)
def test_impossible_widths_are_named(widths: tuple[tuple[str, int], ...], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        derive(Candidate(SPEC, (1.0,), widths))


REBUILD = """
import hashlib, sys, torch
from pathlib import Path
from scbp_host.space.derive import rebuild

folder = Path(sys.argv[1])
module = rebuild(folder / "candidate.json", folder / "weights.safetensors")
images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    sys.stdout.write(hashlib.sha256(module(images).numpy().tobytes()).hexdigest())
"""


def test_rebuilt_in_a_fresh_process_bit_for_bit(space: SearchSpace, tmp_path: Path) -> None:
    candidate = space.candidate(RATIOS)
    module = derive(candidate, seed())
    save_candidate(tmp_path, candidate, module)
    assert load_candidate(tmp_path / "candidate.json") == candidate
    fresh = subprocess.run([sys.executable, "-c", REBUILD, str(tmp_path)], capture_output=True, text=True, check=True)
    assert fresh.stdout == hashlib.sha256(logits(module).numpy().tobytes()).hexdigest()


def test_weights_of_another_candidate_are_refused(space: SearchSpace, tmp_path: Path) -> None:
    save_candidate(tmp_path / "a", space.candidate(RATIOS), derive(space.candidate(RATIOS)))
    save_candidate(tmp_path / "b", space.candidate((0.25,) * 4), derive(space.candidate((0.25,) * 4)))
    with pytest.raises(ModelError, match=r"conv1\.weight' has shape \(16, 3, 7, 7\), expected \(48, 3, 7, 7\)"):
        rebuild(tmp_path / "a" / "candidate.json", tmp_path / "b" / "weights.safetensors")


def test_a_candidate_file_changed_by_hand_is_refused(space: SearchSpace, tmp_path: Path) -> None:
    data = space.candidate(RATIOS).to_json()
    data["widths"]["conv1"] = 56
    path = tmp_path / "candidate.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match="structure_id"):
        load_candidate(path)
    path.write_text("{")
    with pytest.raises(ModelError, match=r"candidate\.json"):
        load_candidate(path)
