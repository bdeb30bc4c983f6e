"""Train, export, measure again with real weights: one candidate after the other, each stage acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.domain.precision import Precision
from scbp_host.errors import ModelError
from scbp_host.export.onnx import check_onnx, export_onnx
from scbp_host.export.parity import check_parity, run_onnx
from scbp_host.export.precision import GATES, allowed_drop
from scbp_host.measuring.builds import builds_wanted, measure_builds, with_builds
from scbp_host.measuring.inferring import DeviceOutputs
from scbp_host.space.cost import cost
from scbp_host.space.seeds import Module
from scbp_host.stages.candidates import CandidateTrainer, OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.known import Known
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import EXPORT, RUNG, TEST, TRAIN, VERIFY, rung_subject, variant_id
from scbp_host.stages.reference import Reference
from scbp_host.stages.repeats import measure_again, settle
from scbp_host.tasks.base import Examples
from scbp_host.training.inference import PART_SIZE, predict

# Real images the export is compared on before anything is shipped.
PARITY_IMAGES = 8


@dataclass(frozen=True)
class _Model:
    """An exported file, and what the runtime is told for it."""

    onnx: bytes
    precision: Precision
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class _Answers:
    """What the device made of all images: the task's metric, torch's, and how far the outputs are from the host's."""

    score: float
    host_score: float
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

    def finish(self, candidate: Candidate, trained: Payload, precision: Precision | None = None) -> Payload | Failure:
        """Export, ship, and measure with real weights.

        Args:
            candidate: which.
            trained: what :meth:`train` returned.
            precision: one of the run's further ones; None is its first.
        """
        own = variant_id(candidate.structure_id, precision)
        module = self._run.artifacts.load_module(candidate.structure_id, trained["weights_sha256"])
        exported = self._run.ledger.once(EXPORT, own, lambda: self._export(own, module, precision))
        if isinstance(exported, Failure):
            return exported
        return self._run.ledger.once(VERIFY, own, lambda: self._verify(self._model(own), module))

    def settle(self, batch: str, verified: Sequence[str]) -> None:
        """Measure again those of a batch, by their ids, whose verifying measurement was uncertain."""
        settle(self._run, VERIFY, batch, {own: own for own in verified}, self._measure_again)

    def measure_again(self, own: str, turn: str) -> None:
        """Measure a verified network once more, by its id; ``turn`` names when."""
        measure_again(self._run, VERIFY, own, turn, partial(self._measure_again, own))

    def test(self, known: Known, trained: Payload, read_split: Callable[[], Examples]) -> Payload | Failure:
        """Report on the test split, from the device's outputs; ``read_split`` is called only if that is still to do."""
        module = self._run.artifacts.load_module(known.candidate.structure_id, trained["weights_sha256"])

        def report() -> Payload | Failure:
            answers = self._answers(self._model(known.id), module, read_split())
            return answers if isinstance(answers, Failure) else {"test_top1": answers.score}

        return self._run.ledger.once(TEST, known.id, report)

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

    def _export(self, own: str, module: Module, precision: Precision | None) -> Payload | Failure:
        run, chosen = self._run, precision or self._run.config.first_precision
        versions = {"opset": run.profile.opset, "ir_version": run.profile.ir_version}
        try:
            exported = export_onnx(module, run.spec.input_shape, **versions)
            variant = run.trained_variant(exported, chosen)
            check_onnx(variant.onnx, **versions)
        except ModelError as error:
            return Failure(FailureKind.EXPORT_FAILED, error.message, error.hint)
        parity = check_parity(module, variant.onnx, run.task.first(PARITY_IMAGES), GATES[chosen].parity)
        if isinstance(parity, Failure):
            return parity
        figures = cost(module, run.spec.input_shape)
        return {
            **versions,
            "precision": chosen.value,
            "settings": dict(variant.settings),
            "in_float": list(variant.in_float),
            "onnx_sha256": run.artifacts.save_onnx(own, variant.onnx),
            "onnx_bytes": len(variant.onnx),
            "params": figures.params,
            "macs": figures.macs,
            "max_abs_difference": parity.max_abs_difference,
            "max_abs_reference": parity.max_abs_reference,
        }

    def _model(self, own: str) -> _Model:
        exported = self._run.ledger.payloads(EXPORT)[own]
        onnx = self._run.artifacts.load_onnx(own, exported["onnx_sha256"])
        # Runs of earlier releases knew float32 alone.
        return _Model(onnx, Precision(exported.get("precision", "fp32")), exported.get("settings", {}))

    def _verify(self, model: _Model, module: Module) -> Payload | Failure:
        run = self._run
        shipped_before = run.client.bytes_shipped
        answers = self._answers(model, module, run.task.validation)
        if isinstance(answers, Failure):
            return answers
        allowed = allowed_drop(model.precision, len(run.task.validation))
        if answers.score < answers.host_score - allowed:
            return _inaccurate(answers, model.precision, allowed)
        measurement = self._measure(model)
        if isinstance(measurement, Failure):
            return measurement
        return {
            "val_top1": answers.score,
            "max_abs_difference": answers.max_abs_difference,
            "max_abs_expected": answers.max_abs_expected,
            "wire_bytes": self._reference.session.wire_bytes(model.onnx),
            "bytes_shipped": run.client.bytes_shipped - shipped_before,
            "measurement": measurement.to_json(),
        }

    def _measure(self, model: _Model) -> Measurement | Failure:
        """Measure a finalist, as many builds of it as are wanted."""
        session, wanted = self._reference.session, builds_wanted(self._run.client, self._run.config.builds)
        first = session.measure(model.onnx, pack=False, told=model.settings)
        if isinstance(first, Failure):
            return first
        built = measure_builds(session, model.onnx, first, wanted, model.settings)
        return built if isinstance(built, Failure) else built.whole

    def _measure_again(self, own: str, earlier: Measurement) -> Measurement | Failure:
        model = self._model(own)
        again = self._reference.session.pair_again(model.onnx, earlier, pack=False, told=model.settings)
        return again if isinstance(again, Failure) else with_builds(again, earlier.builds)

    def _answers(self, model: _Model, module: Module, examples: Examples) -> _Answers | Failure:
        """Let the device answer every image, part by part, and judge its answers."""
        parts: list[tuple[DeviceOutputs, NDArray[np.float32], NDArray[Any]]] = []
        for part in examples.parts(PART_SIZE):
            host = predict(module, part.images)
            # What eight bits make of the network was judged at export; here the device must compute the same file.
            expected = host if model.precision is Precision.FP32 else run_onnx(model.onnx, part.images)
            outputs = self._reference.session.infer(model.onnx, part.images, expected, told=model.settings)
            if isinstance(outputs, Failure):
                return outputs
            parts.append((outputs, host, part.labels))
        difference = max(outputs.max_abs_difference for outputs, _, _ in parts)
        largest = max(outputs.max_abs_expected for outputs, _, _ in parts)
        tolerance = GATES[model.precision].device
        if not difference <= tolerance * largest:
            return _differs(difference, largest, tolerance)
        labels, score = np.concatenate([labels for _, _, labels in parts]), self._run.task.metric
        return _Answers(
            score(np.concatenate([outputs.outputs for outputs, _, _ in parts]), labels),
            score(np.concatenate([host for _, host, _ in parts]), labels),
            difference,
            largest,
        )


def _differs(difference: float, largest: float, tolerance: float) -> Failure:
    return Failure(
        FailureKind.PARITY_FAILED,
        f"the device's outputs differ from the host's by {difference:.3g} where the largest is {largest:.3g}; "
        f"expected at most {tolerance:g} of it",
        "the device's runtime computes another network: try another version of it",
    )


def _inaccurate(answers: _Answers, precision: Precision, allowed: float) -> Failure:
    return Failure(
        FailureKind.ACCURACY_FAILED,
        f"in {precision} the device's answers score {100 * answers.score:.2f} % on validation data, torch's in float32"
        f" {100 * answers.host_score:.2f} %; expected at most {100 * allowed:.3g} points less",
        "this network does not bear this precision: another structure may",
    )
