"""Measure before training: structures with filler weights, each beside the run's reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.events import Progress, StageStarted
from scbp_host.export.onnx import ExportError
from scbp_host.export.quantization import QuantizationError
from scbp_host.space.cost import cost
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.records import MEASURE
from scbp_host.stages.reference import Reference
from scbp_host.stages.repeats import settle
from scbp_host.stages.untrained import Untrained

# So many structures between two turns of the seed: how it compares to the reference is wanted of all times of a run.
SEED_EVERY = 16


class StructureBench:
    """Measures untrained structures.

    Args:
        run: the run.
        seed: the seed as a point of the space.
        untrained: makes them.
        reference: what they are paired with.
    """

    def __init__(self, run: RunContext, seed: Candidate, untrained: Untrained, reference: Reference) -> None:
        self._run = run
        self._seed = seed
        self._untrained = untrained
        self._reference = reference

    def measure(self, candidates: Sequence[Candidate], batch: str, title: str) -> dict[str, Payload | Failure]:
        """Measure what has not been measured yet, and again what was uncertain; returns the first outcomes by id.

        The seed's structure must have been measured before (:meth:`one`); it takes turns with the batch.
        """
        self._run.listen(StageStarted(MEASURE, title, len(candidates)))
        outcomes: dict[str, Payload | Failure] = {}
        for done, candidate in enumerate(candidates, start=1):
            outcomes[candidate.structure_id] = outcome = self.one(candidate)
            self._run.listen(Progress(MEASURE, done, self._note(candidate, outcome)))
            if done % SEED_EVERY == 0 or done == len(candidates):
                self._reference.measure_seed_again(f"{batch}-{done}")
        measured = {own.structure_id: own for own in candidates if not isinstance(outcomes[own.structure_id], Failure)}
        settle(self._run, MEASURE, batch, measured, self._measure_again)
        return outcomes

    def one(self, candidate: Candidate) -> Payload | Failure:
        """Measure one structure."""
        return self._run.ledger.once(MEASURE, candidate.structure_id, lambda: self._measure(candidate))

    def _measure(self, candidate: Candidate) -> Payload | Failure:
        run = self._run
        try:
            module = self._untrained.module(candidate)
            onnx = self._untrained.variant(candidate, module).onnx
        except (ExportError, QuantizationError) as error:
            return Failure(FailureKind.EXPORT_FAILED, error.message, error.hint)
        except ModelError as error:
            return Failure(FailureKind.DERIVE_FAILED, error.message, error.hint)
        shipped_before = run.client.bytes_shipped
        measurement = self._reference.session.measure(onnx, pack=True)
        if isinstance(measurement, Failure):
            return measurement
        figures = cost(module, run.spec.input_shape)
        return {
            "candidate": candidate.to_json(),
            "params": figures.params,
            "macs": figures.macs,
            "onnx_bytes": len(onnx),
            "wire_bytes": self._reference.session.wire_bytes(onnx),
            "bytes_shipped": run.client.bytes_shipped - shipped_before,
            "measurement": measurement.to_json(),
        }

    def _measure_again(self, candidate: Candidate, earlier: Measurement) -> Measurement | Failure:
        return self._reference.session.pair_again(self._untrained.variant(candidate).onnx, earlier, pack=True)

    def _note(self, candidate: Candidate, outcome: Payload | Failure) -> str:
        ratios = "/".join(f"{ratio:g}" for ratio in candidate.ratios)
        if isinstance(outcome, Failure):
            return f"{ratios}: {outcome.kind}"
        return f"{ratios}: {outcome['measurement']['ratio'][0] / self._seed_ratio:.2f}x the seed's latency"

    @cached_property
    def _seed_ratio(self) -> float:
        """The seed's first ratio to the reference: good enough to show progress by."""
        return float(self._run.ledger.payloads(MEASURE)[self._seed.structure_id]["measurement"]["ratio"][0])
