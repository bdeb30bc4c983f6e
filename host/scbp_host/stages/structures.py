"""Measure before training: structures with filler weights, each beside the run's reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.events import Progress, StageStarted
from scbp_host.export.onnx import ExportError
from scbp_host.export.quantization import QuantizationError
from scbp_host.measuring.session import Subject
from scbp_host.space.cost import Cost, cost
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import MEASURE
from scbp_host.stages.reference import Reference
from scbp_host.stages.repeats import settle
from scbp_host.stages.untrained import Untrained

# So many structures between two turns of the seed: how it compares to the reference is wanted of all times of a run.
SEED_EVERY = 16


@dataclass(frozen=True)
class _Structure:
    """An untrained network as it travels, and what it costs."""

    onnx: bytes
    cost: Cost


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
        for group in _groups(candidates, self._run.config.together - 1):
            done = len(outcomes)
            outcomes |= self._together(group)
            for row, candidate in enumerate(group, start=1):
                self._run.listen(Progress(MEASURE, done + row, self._note(candidate, outcomes[candidate.structure_id])))
            if len(outcomes) // SEED_EVERY > done // SEED_EVERY or group[-1] is candidates[-1]:
                self._reference.measure_seed_again(f"{batch}-{len(outcomes)}")
        measured = {own.structure_id: own for own in candidates if not isinstance(outcomes[own.structure_id], Failure)}
        settle(self._run, MEASURE, batch, measured, self._measure_again)
        return outcomes

    def one(self, candidate: Candidate) -> Payload | Failure:
        """Measure one structure."""
        return self._together([candidate])[candidate.structure_id]

    def _together(self, candidates: Sequence[Candidate]) -> dict[str, Payload | Failure]:
        by_id = {own.structure_id: own for own in candidates}

        def compute(ids: list[str]) -> list[Payload | Failure]:
            return self._measure([by_id[own] for own in ids])

        return self._run.ledger.several(MEASURE, list(by_id), compute)

    def _measure(self, candidates: Sequence[Candidate]) -> list[Payload | Failure]:
        """Make the structures and measure what could be made, several beside the reference at a time."""
        session, client = self._reference.session, self._run.client
        outcomes: dict[str, Payload | Failure] = {}
        structures: dict[str, tuple[Candidate, _Structure]] = {}
        for candidate in candidates:
            made = self._make(candidate)
            if isinstance(made, Failure):
                outcomes[candidate.structure_id] = made
            else:
                structures[candidate.structure_id] = candidate, made
        shipped_before = client.bytes_shipped
        measured = session.measure_together([Subject(own.onnx, pack=True) for _, own in structures.values()])
        # What was shipped for all of them stands at the first.
        shipped = iter([client.bytes_shipped - shipped_before])
        for (name, (candidate, own)), outcome in zip(structures.items(), measured, strict=True):
            if isinstance(outcome, Failure):
                outcomes[name] = outcome
            else:
                outcomes[name] = self._payload(candidate, own, outcome, next(shipped, 0))
        return [outcomes[own.structure_id] for own in candidates]

    def _make(self, candidate: Candidate) -> _Structure | Failure:
        try:
            module = self._untrained.module(candidate)
            onnx = self._untrained.variant(candidate, module).onnx
        except (ExportError, QuantizationError) as error:
            return Failure(FailureKind.EXPORT_FAILED, error.message, error.hint)
        except ModelError as error:
            return Failure(FailureKind.DERIVE_FAILED, error.message, error.hint)
        return _Structure(onnx, cost(module, self._run.spec.input_shape))

    def _payload(self, candidate: Candidate, own: _Structure, measured: Measurement, shipped: int) -> Payload:
        return {
            "candidate": candidate.to_json(),
            "params": own.cost.params,
            "macs": own.cost.macs,
            "onnx_bytes": len(own.onnx),
            "wire_bytes": self._reference.session.wire_bytes(own.onnx),
            "bytes_shipped": shipped,
            "measurement": measured.to_json(),
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


def _groups(candidates: Sequence[Candidate], size: int) -> list[Sequence[Candidate]]:
    """Return neighbours in groups of ``size``; the same ones in a resumed run, whatever of them is measured already."""
    return [candidates[start : start + size] for start in range(0, len(candidates), size)]
