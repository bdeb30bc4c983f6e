"""The untrained networks of a run: what is measured before anything is trained."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cached_property

from scbp_host.domain.candidate import Candidate
from scbp_host.export.precision import Variant
from scbp_host.export.structure import structure_onnx
from scbp_host.space.seeds import Module, build_seed
from scbp_host.space.slices import Carver
from scbp_host.space.steps import Widths, check_steps, widths_of
from scbp_host.stages.context import RunContext


class Untrained:
    """Makes structures; the seed is built, and its channels are followed, once for all of them.

    What was written as ONNX is kept, for those that are measured again; filler packs to a hundredth.
    """

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._written: dict[str, Variant] = {}

    def module(self, candidate: Candidate) -> Module:
        """Return a structure as a module, its widths checked against the device's channel step.

        Raises:
            ModelError: the network cannot be narrowed to it, or a width is off the step: names the layer.
        """
        module = self._carver.carve(candidate).module
        check_steps(module, self._seed_widths, self._run.profile.channel_step)
        return module

    def variant(self, candidate: Candidate, module: Module | None = None) -> Variant:
        """Return a structure with filler weights, in the run's first precision.

        Args:
            candidate: which.
            module: what :meth:`module` returned for it, where it is at hand.

        Raises:
            ModelError: as :meth:`module`.
            ExportError: it cannot be written.
            QuantizationError: it cannot be written with eight bits.
        """
        if candidate.structure_id not in self._written:
            profile, shape = self._run.profile, self._run.spec.input_shape
            module = module or self.module(candidate)
            structure = structure_onnx(module, shape, opset=profile.opset, ir_version=profile.ir_version)
            written = self._run.untrained_variant(structure)
            self._written[candidate.structure_id] = replace(written, onnx=zlib.compress(written.onnx, level=1))
        kept = self._written[candidate.structure_id]
        return replace(kept, onnx=zlib.decompress(kept.onnx))

    @cached_property
    def _seed(self) -> Module:
        return build_seed(self._run.spec, random_seed=0)

    @cached_property
    def _carver(self) -> Carver:
        return Carver(self._seed, self._run.spec, {})

    @cached_property
    def _seed_widths(self) -> Widths:
        return widths_of(self._seed)
