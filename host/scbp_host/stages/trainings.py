"""Train, export, measure again with real weights: one candidate after the other, each stage acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ModelError
from scbp_host.export.onnx import export_onnx
from scbp_host.export.parity import check_parity
from scbp_host.measuring.session import DeviceOutputs
from scbp_host.space.cost import cost
from scbp_host.space.seeds import Module
from scbp_host.stages.candidates import CandidateTrainer, OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.records import EXPORT, RUNG, TEST, TRAIN, VERIFY, rung_subject
from scbp_host.stages.reference import Reference
from scbp_host.stages.repeats import settle
from scbp_host.tasks.base import Examples
from scbp_host.training.inference import PART_SIZE, predict

# Real images the export is compared on before anything is shipped.
PARITY_IMAGES = 8
# The device's outputs may differ from torch's by this share of the largest logit: another instruction set sums in
# another order, a wrong kernel or a damaged model is off by far more.
DEVICE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Answers:
    """What the device made of all images: the task's metric, and how far it is from torch."""

    score: float
    max_abs_difference: float
    max_abs_expected: float


class Trainings:
    """Takes candidates from the seed's weights to a figure measured on the device.

    Args:
        run: the run.
        reference: what their networks are paired with on the device.
        trainer: trains one candidate.
    """

    def __init__(self, run: RunContext, reference: Reference, trainer: CandidateTrainer) -> None:
        self._run = run
        self._reference = reference
        self._trainer = trainer

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Payload | Failure:
        """Train to the end, from the last epoch on where a training was interrupted or came to a rung."""
        outcome = self._run.ledger.once(TRAIN, candidate.structure_id, lambda: self._train(candidate, on_epoch))
        self._run.artifacts.checkpoint(candidate.structure_id).unlink(missing_ok=True)
        return outcome

    def climb(self, candidate: Candidate, epochs: int, on_epoch: OnEpoch) -> Payload | Failure:
        """Train to the rung at ``epochs`` and keep the training's state, so that it can go on from there."""

        def climb() -> Payload | Failure:
            checkpoint = self._run.artifacts.checkpoint(candidate.structure_id)
            trained = self._trainer.train(candidate, checkpoint, on_epoch, epochs)
            if isinstance(trained, Failure):
                return trained
            return {"candidate": candidate.to_json(), "epochs": epochs, "val_top1": trained[1].history[epochs - 1]}

        return self._run.ledger.once(RUNG, rung_subject(candidate.structure_id, epochs), climb)

    def pending(self, candidates: Sequence[Candidate], epochs: int | None) -> list[Candidate]:
        """Return those whose training to the rung at ``epochs`` (None: to the end) is not acknowledged yet."""
        stage = TRAIN if epochs is None else RUNG
        known = self._run.ledger.subjects(stage)

        def subject(own: Candidate) -> str:
            return own.structure_id if epochs is None else rung_subject(own.structure_id, epochs)

        return [own for own in candidates if subject(own) not in known]

    def finish(self, candidate: Candidate, trained: Payload) -> Payload | Failure:
        """Export, ship, and measure with real weights; ``trained`` is what :meth:`train` returned."""
        structure_id = candidate.structure_id
        module = self._run.artifacts.load_module(structure_id, trained["weights_sha256"])
        exported = self._run.ledger.once(EXPORT, structure_id, lambda: self._export(candidate, module))
        if isinstance(exported, Failure):
            return exported
        onnx = self._run.artifacts.load_onnx(structure_id, exported["onnx_sha256"])
        return self._run.ledger.once(VERIFY, structure_id, lambda: self._verify(onnx, module))

    def settle(self, batch: str, verified: Sequence[Candidate]) -> None:
        """Measure again those of a batch whose verifying measurement was uncertain."""
        by_id = {candidate.structure_id: candidate for candidate in verified}
        settle(self._run, VERIFY, batch, by_id, self._measure_again)

    def test(self, candidate: Candidate, trained: Payload, read_split: Callable[[], Examples]) -> Payload | Failure:
        """Report on the test split, from the device's outputs; ``read_split`` is called only if that is still to do."""
        module = self._run.artifacts.load_module(candidate.structure_id, trained["weights_sha256"])
        exported = self._run.ledger.payloads(EXPORT)[candidate.structure_id]
        onnx = self._run.artifacts.load_onnx(candidate.structure_id, exported["onnx_sha256"])

        def report() -> Payload | Failure:
            answers = self._answers(onnx, module, read_split())
            return answers if isinstance(answers, Failure) else {"test_top1": answers.score}

        return self._run.ledger.once(TEST, candidate.structure_id, report)

    def _train(self, candidate: Candidate, on_epoch: OnEpoch) -> Payload | Failure:
        checkpoint = self._run.artifacts.checkpoint(candidate.structure_id)
        trained = self._trainer.train(candidate, checkpoint, on_epoch)
        if isinstance(trained, Failure):
            return trained
        module, result = trained
        return {
            "candidate": candidate.to_json(),
            "host_val_top1": result.val_top1,
            "epochs": result.epochs,
            "device": result.device,
            "parts": result.parts,
            "weights_sha256": self._run.artifacts.save_module(candidate, module),
        }

    def _export(self, candidate: Candidate, module: Module) -> Payload | Failure:
        run = self._run
        versions = {"opset": run.profile.opset, "ir_version": run.profile.ir_version}
        try:
            onnx = export_onnx(module, run.spec.input_shape, **versions)
        except ModelError as error:
            return Failure(FailureKind.EXPORT_FAILED, error.message, error.hint)
        parity = check_parity(module, onnx, run.task.first(PARITY_IMAGES))
        if isinstance(parity, Failure):
            return parity
        figures = cost(module, run.spec.input_shape)
        return {
            **versions,
            "onnx_sha256": run.artifacts.save_onnx(candidate.structure_id, onnx),
            "onnx_bytes": len(onnx),
            "params": figures.params,
            "macs": figures.macs,
            "max_abs_difference": parity.max_abs_difference,
            "max_abs_reference": parity.max_abs_reference,
        }

    def _verify(self, onnx: bytes, module: Module) -> Payload | Failure:
        run = self._run
        shipped_before = run.client.bytes_shipped
        answers = self._answers(onnx, module, run.task.validation)
        if isinstance(answers, Failure):
            return answers
        measurement = self._reference.session.measure(onnx, pack=False)
        if isinstance(measurement, Failure):
            return measurement
        return {
            "val_top1": answers.score,
            "max_abs_difference": answers.max_abs_difference,
            "max_abs_expected": answers.max_abs_expected,
            "wire_bytes": self._reference.session.wire_bytes(onnx),
            "bytes_shipped": run.client.bytes_shipped - shipped_before,
            "measurement": measurement.to_json(),
        }

    def _measure_again(self, candidate: Candidate, earlier: Measurement) -> Measurement | Failure:
        exported = self._run.ledger.payloads(EXPORT)[candidate.structure_id]
        onnx = self._run.artifacts.load_onnx(candidate.structure_id, exported["onnx_sha256"])
        return self._reference.session.pair_again(onnx, earlier, pack=False)

    def _answers(self, onnx: bytes, module: Module, examples: Examples) -> _Answers | Failure:
        """Let the device answer every image, part by part, and judge its answers."""
        parts: list[tuple[DeviceOutputs, NDArray[Any]]] = []
        for part in examples.parts(PART_SIZE):
            outputs = self._reference.session.infer(onnx, part.images, predict(module, part.images))
            if isinstance(outputs, Failure):
                return outputs
            parts.append((outputs, part.labels))
        difference = max(outputs.max_abs_difference for outputs, _ in parts)
        largest = max(outputs.max_abs_expected for outputs, _ in parts)
        if not difference <= DEVICE_TOLERANCE * largest:
            return _differs(difference, largest)
        everything = np.concatenate([outputs.outputs for outputs, _ in parts])
        score = self._run.task.metric(everything, np.concatenate([labels for _, labels in parts]))
        return _Answers(score, difference, largest)


def _differs(difference: float, largest: float) -> Failure:
    return Failure(
        FailureKind.PARITY_FAILED,
        f"the device's outputs differ from torch's by {difference:.3g} where the largest is {largest:.3g}; "
        f"expected at most {DEVICE_TOLERANCE:g} of it",
        "the device's runtime computes another network: try another version of it",
    )
