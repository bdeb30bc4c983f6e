"""The real builder takes what is exported. All structures: tests/bench/rtx_builder.py."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rtx_networks import (
    GENERATIONS,
    PRECISIONS,
    RATIOS,
    VERSIONS,
    demo_candidates,
    files_of,
    rejections,
    space_of,
    uniform_candidate,
)

from scbp_agent import wire
from scbp_agent.runtimes import base
from scbp_host.domain.precision import Precision
from scbp_host.export.precision import make_variant
from scbp_host.export.structure import structure_onnx
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.slices import Carver

NOTHING: dict[Precision, dict[str, str]] = {own: {} for own in PRECISIONS}
RECORD = Path(__file__).parents[3] / "docs" / "bench" / "rtx_builder.json"
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


def test_the_agent_builds_what_the_host_exports_with_the_settings_that_go_with_it(
    rtx: ModuleType, tmp_path: Path
) -> None:
    spec = RESNET18
    carver = Carver(build_seed(spec, random_seed=0), spec, {})
    structure = structure_onnx(
        carver.carve(uniform_candidate(space_of(spec), 0.25)).module, spec.input_shape, **VERSIONS
    )
    for precision in PRECISIONS:
        noise = np.zeros((1, *spec.input_shape), np.float32)
        variant = make_variant(structure, precision, "tensorrt-rtx", rtx.__version__, noise)
        path = tmp_path / f"{precision}.onnx"
        path.write_bytes(variant.onnx)
        options = wire.RuntimeOptions("tensorrt-rtx", 1, {"compute_capability": "SM86", **variant.settings})
        built = base.prepare("onnx", {"model": str(path)}, options, str(tmp_path / "engines"))
        assert Path(built.paths["engine"]).stat().st_size > 10_000


def test_what_the_builder_rejects_is_seen(rtx: ModuleType) -> None:
    """Without it, a builder that was never asked would pass for one that takes everything."""
    assert set(rejections(rtx, b"not a network")) == set(GENERATIONS)


def test_the_record_of_all_networks_has_every_family_and_no_rejection(
    rtx: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes too long for these tests, the bench has built, with this builder."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    families = importlib.import_module("any_cnn").FAMILIES
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    built = set(record["networks"])
    assert record["builder"] == f"TensorRT-RTX {rtx.__version__}"
    assert {name: own["rejected"] for name, own in record["networks"].items() if own["rejected"]} == {}
    assert {f"{family.factory} at random" for family in families} <= built
    demo = {name for name in built if name.startswith("resnet18 ") and not name.endswith("at random")}
    assert {f"resnet18 {'/'.join([f'{ratio:g}'] * 4)}" for ratio in RATIOS} <= demo
    assert len(demo) >= 32
    assert record["built"] == len(built) * len(GENERATIONS) * len(PRECISIONS)
