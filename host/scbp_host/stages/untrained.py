"""The untrained networks of a run: what is measured before anything is trained."""

from __future__ import annotations

from functools import cached_property

from scbp_host.domain.candidate import Candidate
from scbp_host.export.structure import structure_onnx
from scbp_host.space.seeds import Module, build_seed
from scbp_host.space.slices import Carver
from scbp_host.space.steps import Widths, check_steps, widths_of
from scbp_host.stages.context import RunContext


class Untrained:
    """Makes structures; the seed is built, and its channels are followed, once for all of them."""

    def __init__(self, run: RunContext) -> None:
        self._run = run

    def module(self, candidate: Candidate) -> Module:
        """Return a structure as a module, its widths checked against the device's channel step.

        Raises:
            ModelError: the network cannot be narrowed to it, or a width is off the step: names the layer.
        """
        module = self._carver.carve(candidate).module
        check_steps(module, self._seed_widths, self._run.profile.channel_step)
        return module

    def onnx(self, module: Module) -> bytes:
        """Return a structure as ONNX with filler weights; raises ExportError."""
        profile, shape = self._run.profile, self._run.spec.input_shape
        return structure_onnx(module, shape, opset=profile.opset, ir_version=profile.ir_version)

    @cached_property
    def _seed(self) -> Module:
        return build_seed(self._run.spec, random_seed=0)

    @cached_property
    def _carver(self) -> Carver:
        return Carver(self._seed, self._run.spec, {})

    @cached_property
    def _seed_widths(self) -> Widths:
        return widths_of(self._seed)
