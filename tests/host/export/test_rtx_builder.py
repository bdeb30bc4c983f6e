"""The real builder takes what is exported. All structures: tests/bench/rtx_builder.py."""

from __future__ import annotations

from types import ModuleType

import pytest
from rtx_networks import GENERATIONS, PRECISIONS, demo_candidates, files_of, rejections, space_of, uniform_candidate

from scbp_host.domain.precision import Precision
from scbp_host.space.seeds import seed_spec

NOTHING: dict[Precision, dict[str, str]] = {own: {} for own in PRECISIONS}
RESNET18 = seed_spec("resnet18", 10, (3, 32, 32))


@pytest.fixture(scope="module")
def narrow(rtx: ModuleType) -> dict[Precision, bytes]:
    """The files of the demo's narrowest network."""
    return files_of(RESNET18, demo_candidates(RESNET18)["0.25/0.25/0.25/0.25"], rtx.__version__)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_builds_for_every_generation(
    rtx: ModuleType, narrow: dict[Precision, bytes], precision: Precision
) -> None:
    assert rejections(rtx, narrow[precision]) == {}


@pytest.mark.parametrize("ratios", ["1/1/1/1", "0.5/0.5/0.5/0.5"])
def test_uniform_networks_build(rtx: ModuleType, ratios: str) -> None:
    files = files_of(RESNET18, demo_candidates(RESNET18)[ratios], rtx.__version__)
    assert {own: rejections(rtx, files[own], ("SM75", "SM120")) for own in PRECISIONS} == NOTHING


@pytest.mark.parametrize("factory", ["mobilenet_v3_small", "squeezenet1_1"])
def test_other_families_build(rtx: ModuleType, factory: str) -> None:
    spec = seed_spec(factory, 10, (3, 64, 64))
    files = files_of(spec, uniform_candidate(space_of(spec), 0.5), rtx.__version__)
    assert {own: rejections(rtx, files[own], ("SM86",)) for own in PRECISIONS} == NOTHING


def test_what_the_builder_rejects_is_seen(rtx: ModuleType) -> None:
    """Without it, a builder that was never asked would pass for one that takes everything."""
    assert set(rejections(rtx, b"not a network")) == set(GENERATIONS)
