"""TensorRT-RTX's real builder takes every network of the ResNet-18 demo, and one of each family of torchvision.

`make test-rtx` runs this; `make test` has a sample of it in test_rtx_builder.py. The builder's two wheels are installed
where they are missing. tests/bench/rtx_builder.py builds the same networks and writes down what was said of each.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest
from rtx_networks import PRECISIONS, demo_candidates, files_of, rejections, space_of

from scbp_host.domain.precision import Precision
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.slices import Carver

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import any_cnn
import cnn_checks

NUM_CLASSES = 10
RESNET18 = seed_spec("resnet18", NUM_CLASSES, (3, 32, 32))
DEMO = demo_candidates(RESNET18)
FAMILIES = {own.factory: own for own in any_cnn.FAMILIES}
NOTHING: dict[Precision, dict[str, str]] = {own: {} for own in PRECISIONS}


@lru_cache(maxsize=1)
def demo_carver() -> Carver:
    """Return what all of the demo's networks are cut with."""
    return Carver(build_seed(RESNET18, random_seed=0), RESNET18, {})


@pytest.mark.parametrize("ratios", DEMO)
def test_the_demos_network_builds_in_every_precision_for_every_generation(rtx: ModuleType, ratios: str) -> None:
    files = files_of(RESNET18, DEMO[ratios], rtx.__version__, demo_carver())
    assert {own: rejections(rtx, files[own]) for own in PRECISIONS} == NOTHING


@pytest.mark.parametrize("factory", FAMILIES)
def test_one_network_of_the_family_builds_in_every_precision_for_every_generation(
    rtx: ModuleType, factory: str
) -> None:
    side = FAMILIES[factory].quick_side
    spec = seed_spec(factory, NUM_CLASSES, (3, side, side))
    candidate = cnn_checks.points(space_of(spec), 1, random_seed=0)[0]
    files = files_of(spec, candidate, rtx.__version__)
    assert {own: rejections(rtx, files[own]) for own in PRECISIONS} == NOTHING
