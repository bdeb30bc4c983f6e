"""What tests/bench/any_cnn.py checks in full, at one point of every family and on small images."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.derive import derive, save_candidate
from scbp_host.space.narrowing import BLANK
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_names, seed_spec
from scbp_host.space.slices import carve
from scbp_host.space.steps import check_steps, widths_of
from scbp_host.space.superblocks import bin_by_stage

ROOT = Path(__file__).parents[3]
BENCH = ROOT / "tests" / "bench"
sys.path.append(str(BENCH))
any_cnn = importlib.import_module("any_cnn")
cnn_checks = importlib.import_module("cnn_checks")

CHECKED = tuple(family.factory for family in any_cnn.FAMILIES)
# The others of their kind are larger, and differ in sizes only.
HERE = tuple(name for name in CHECKED if name not in ("vgg11", "wide_resnet50_2"))
SMALL = {family.factory: family.quick_side for family in any_cnn.FAMILIES} | {
    "vgg11": 32,
    "vgg11_bn": 32,
    "alexnet": 64,
}
# Each brings an operator to the export that the others do not have.
EXPORTED = ("squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x1_0", "convnext_tiny", "own_cnn:factory")
TRANSFORMERS = ("vit_", "swin_", "maxvit_")


def space_of(factory: str, channel_step: int = 8) -> SearchSpace:
    spec = seed_spec(factory, 10, (3, SMALL[factory], SMALL[factory]))
    return SearchSpace.uniform(spec, bin_by_stage(spec), cnn_checks.RATIOS, channel_step)


@pytest.mark.parametrize("factory", HERE)
def test_a_derived_network_is_exactly_the_part_of_its_seed(factory: str) -> None:
    space = space_of(factory)
    source = cnn_checks.restless(space.seed, random_seed=1)
    (candidate,) = cnn_checks.points(space, 1, random_seed=4)
    carving = carve(candidate, source)
    cnn_checks.check_widths(space, source, candidate, carving.module)
    cnn_checks.check_masking(space.seed, source, carving)


@pytest.mark.parametrize("factory", EXPORTED)
def test_export_and_counts_agree(factory: str) -> None:
    space = space_of(factory)
    (candidate,) = cnn_checks.points(space, 1, random_seed=2)
    cnn_checks.check_export(space.seed, derive(candidate, cnn_checks.restless(space.seed, random_seed=3)))


def test_the_masked_seed_sees_a_channel_that_is_coupled_to_a_wrong_one() -> None:
    """The check that the others rest on, with one convolution reading two channels the wrong way round."""
    space = space_of("mobilenet_v3_small")
    source = cnn_checks.restless(space.seed, random_seed=1)
    (candidate,) = cnn_checks.points(space, 1, random_seed=4)
    carving = carve(candidate, source)
    weight = carving.module.get_parameter("features.4.block.0.0.weight")
    with torch.no_grad():
        weight[:, :2] = weight[:, :2].flip(1)
    with pytest.raises(AssertionError, match="masked seed and candidate differ"):
        cnn_checks.check_masking(space.seed, source, carving)


# Of 48 channels that are shuffled eight times, 24 want a way through the blocks that none of the 48 goes.
@pytest.mark.parametrize(("width", "unread"), [(8, False), (16, False), (24, True), (32, True), (40, False)])
def test_a_channel_that_a_shuffle_leads_another_way_than_in_the_seed_begins_unread(width: int, unread: bool) -> None:
    spec = seed_spec("shufflenet_v2_x0_5", 10, (3, 32, 32))
    source = cnn_checks.restless(spec, random_seed=1)
    carving = carve(Candidate(spec, (), (("stage3.0.branch1.2", width),)), source)
    cnn_checks.check_masking(spec, source, carving)
    axes = {name: part.axes for name, part in carving.slices.items()}
    blank = {name for name, own in axes.items() if any(bool((kept == BLANK).any()) for kept in own if kept is not None)}
    assert bool(blank) is unread
    assert all(re.fullmatch(r"stage3\.\d\.branch2\.0\.weight", name) for name in blank), "only filters that read"


@pytest.mark.parametrize(
    ("factory", "channel_step"),
    [("own_cnn:factory", 4), ("own_cnn:factory", 32), ("shufflenet_v2_x1_0", 16), ("regnet_x_400mf", 32)],
)
def test_every_width_is_a_multiple_of_the_devices_step_or_the_seeds(factory: str, channel_step: int) -> None:
    space = space_of(factory, channel_step)
    seed = widths_of(build_seed(space.seed, random_seed=0))
    check_steps(derive(space.candidate([0.6] * len(space.superblocks))), seed, channel_step)


def test_a_width_off_the_step_names_the_convolution() -> None:
    seed = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 1, groups=2))
    narrow = nn.Sequential(nn.Conv2d(3, 24, 1), nn.Conv2d(24, 24, 1, groups=2))
    check_steps(narrow, widths_of(seed), 4)
    with pytest.raises(ModelError, match=r"layer '1': each group of it came out at 12 channels, .* multiple of 8"):
        check_steps(narrow, widths_of(seed), 8)
    with pytest.raises(ModelError, match=r"layer '0': it came out at 24 channels, .* multiple of 16 or the seed's 32"):
        check_steps(narrow, widths_of(seed), 16)


REBUILD = """
import hashlib, sys, torch
from pathlib import Path
from scbp_host.space.derive import rebuild

folder, side = Path(sys.argv[1]), int(sys.argv[2])
module = rebuild(folder / "candidate.json", folder / "weights.safetensors")
with torch.no_grad():
    found = module(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
sys.stdout.write(hashlib.sha256(found.numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("factory", ["own_cnn:factory", "mnasnet1_0"])
def test_rebuilt_in_a_fresh_process_bit_for_bit(factory: str, tmp_path: Path) -> None:
    space, side = space_of(factory), SMALL[factory]
    (candidate,) = cnn_checks.points(space, 1, random_seed=5)
    module = derive(candidate, cnn_checks.restless(space.seed, random_seed=6))
    save_candidate(tmp_path, candidate, module)
    with torch.no_grad():
        expected = module(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    fresh = subprocess.run(
        [sys.executable, "-c", REBUILD, str(tmp_path), str(side)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path[1:], str(BENCH)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout == hashlib.sha256(expected.numpy().tobytes()).hexdigest()


def test_every_convolutional_network_of_torchvision_has_its_family_checked() -> None:
    own = {name for name in seed_names() if not name.startswith(TRANSFORMERS)}
    assert {first_word(name) for name in own} == {first_word(name) for name in CHECKED} - {"own"}


def first_word(name: str) -> str:
    match = re.match("[a-z]+", name)
    assert match is not None
    return match[0]


def test_the_table_of_what_works_is_that_of_the_benchmark() -> None:
    results = json.loads((ROOT / "docs" / "bench" / "any_cnn.json").read_text(encoding="utf-8"))
    assert tuple(own["factory"] for own in results) == CHECKED
    assert {len(own["points"]) for own in results} == {any_cnn.POINTS}
    page = any_cnn.PAGE.read_text(encoding="utf-8")
    assert page == any_cnn.page_with(results, page)


def test_a_transformer_is_refused_by_what_it_does() -> None:
    with pytest.raises(ModelError, match=r"VisionTransformer: has no convolution .*'encoder.*to channels is not known"):
        bin_by_stage(seed_spec("vit_b_32", 10, (3, 224, 224)))


FIXED = """
import torch
from torch import nn

class Fixed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3)
        self.last = nn.Linear(32, num_classes)

    def forward(self, x):
        x = self.second(self.first(x)).mean((2, 3))
        return self.last(x.view(-1, 32))
"""


def test_code_that_fixes_a_number_of_channels_is_an_error_that_names_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixed_channels.py").write_text(FIXED)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = seed_spec("fixed_channels:Fixed", 10, (3, 16, 16))
    space = SearchSpace.uniform(spec, bin_by_stage(spec), (1.0, 0.5), 8)
    with pytest.raises(ModelError, match=r"model 'fixed_channels:Fixed \w+': .*cannot run an input"):
        derive(space.candidate([0.5] * len(space.superblocks)))
