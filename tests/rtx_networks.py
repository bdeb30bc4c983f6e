"""Networks for TensorRT-RTX's builder: structures with filler weights in every precision, as a board would get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.precision import Precision
from scbp_host.export.precision import make_variant
from scbp_host.export.structure import structure_onnx
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.search.base import Limits, Problem, Purpose
from scbp_host.search.one_shot import OneShotSearch, relative_widths
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed
from scbp_host.space.slices import Carver
from scbp_host.space.superblocks import bin_by_stage

# Turing, Ampere (two), Ada, Blackwell: what its builder compiles for.
GENERATIONS = ("SM75", "SM80", "SM86", "SM89", "SM120")
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
RATIOS = (1.0, 0.75, 0.5, 0.25)
VERSIONS = {"opset": 13, "ir_version": 7}


def space_of(spec: SeedSpec) -> SearchSpace:
    """Return the space that a run has without further flags."""
    return SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, channel_step=8)


def demo_candidates(spec: SeedSpec) -> dict[str, Candidate]:
    """Return the uniform networks and the spread of 32 that ``make demo`` measures, by their ratios."""
    space = space_of(spec)
    pool = list(space.derived())
    groups = [{group.name: group.channels for group in block.groups} for block in space.superblocks]
    widths = relative_widths(pool, groups)
    prior = prior_of_importance(widths.mean(axis=1), widths)
    search = OneShotSearch(Problem(pool, widths, prior, Limits(), 0.0, random_seed=0))
    spread = search.propose(Purpose.MEASURE, 32).candidates
    uniform = [uniform_candidate(space, ratio) for ratio in RATIOS]
    return {"/".join(f"{ratio:g}" for ratio in own.ratios): own for own in (*uniform, *spread)}


def uniform_candidate(space: SearchSpace, ratio: float) -> Candidate:
    """Return the network with this ratio in every superblock."""
    return space.candidate((ratio,) * len(space.superblocks))


def files_of(
    spec: SeedSpec, candidate: Candidate, version: str, carver: Carver | None = None
) -> dict[Precision, bytes]:
    """Return a structure's file in each precision, as TensorRT-RTX of this version would get it."""
    carver = carver or Carver(build_seed(spec, random_seed=0), spec, {})
    structure = structure_onnx(carver.carve(candidate).module, spec.input_shape, **VERSIONS)
    noise = np.random.default_rng(0).normal(size=(2, *spec.input_shape)).astype(np.float32)
    return {own: make_variant(structure, own, "tensorrt-rtx", version, noise).onnx for own in PRECISIONS}


def rejections(trt: ModuleType, written: bytes, generations: Sequence[str] = GENERATIONS) -> Mapping[str, str]:
    """Parse a file and build it for each generation; returns what was said where the builder gave none."""
    said: list[str] = []
    logger = _listening(trt, said)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(written):
        return dict.fromkeys(generations, f"not parsed: {said}")
    found = {}
    for name in generations:
        said.clear()
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
        if builder.build_serialized_network(network, config) is None:
            found[name] = "; ".join(said)
    return found


def _listening(trt: ModuleType, said: list[str]) -> Any:
    """Return a logger that keeps the errors."""

    class Listening(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                said.append(message)

    return Listening()
