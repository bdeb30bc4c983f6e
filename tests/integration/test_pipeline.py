"""The order of the stages, and the gates between them, on the real agent."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.domain.outcome import FailureKind
from scbp_host.errors import UsageError
from scbp_host.events import Acknowledged, Event, Warned, ignore
from scbp_host.export.parity import Parity
from scbp_host.measuring.session import MeasureSettings
from scbp_host.report import Summary, read_summary
from scbp_host.space.derive import rebuild
from scbp_host.stages import trainings
from scbp_host.store import STORE_FILE, Outcome, Store
from scbp_host.tasks.base import Split, Task


class Log:
    """A listener that remembers what was acknowledged, in order."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Acknowledged):
            self.stages.append((event.stage, event.subject))

    def position(self, stage: str, subject: str) -> int:
        return self.stages.index((stage, subject))


def outcomes_of(config: RunConfig) -> tuple[Outcome, ...]:
    with Store.open(config.out / STORE_FILE) as store:
        return store.outcomes(store.runs()[0].id)


def test_a_run_measures_before_it_trains_and_reports_what_it_measured(
    tiny_config: RunConfig, quick: MeasureSettings
) -> None:
    log = Log()
    config = tiny_config.model_copy(update={"model": "tiny_seed:wide"})
    result = pipeline.run(config, log, settings=quick)
    summary = result.summary

    trained = [own for own in summary.candidates if own.status == "trained"]
    assert len(trained) == 2, "one in each round"
    for own in trained:
        order = [log.position(stage, own.id) for stage in ("measure", "train", "export", "verify")]
        assert order == sorted(order), log.stages
    assert log.stages[-1][0] == "test"
    profiles = [own.payload for own in outcomes_of(tiny_config) if own.stage == "layers"]
    assert profiles, "the spread's layers are timed"
    assert all(sum(own["shares"]) == pytest.approx(1.0) and min(own["shares"]) > 0 for own in profiles if own)
    assert log.position("seed", "seed") < log.position("measure", summary.seed.id)

    assert summary.space_size == 4
    assert summary.best is not None
    assert {own.id for own in trained} >= {summary.best.id}
    assert summary.best.test_top1 is not None
    assert summary.seed.test_top1 is not None
    assert [own.id for own in summary.candidates if own.test_top1 is not None] == [summary.best.id]
    for own in summary.candidates:
        assert own.params is not None
        assert summary.seed.params is not None
        assert own.params < summary.seed.params
        assert own.latency_ratio_ci95 is not None
        assert own.latency_ratio_ci95[0] <= (own.latency_ratio or 0) <= own.latency_ratio_ci95[1]
        assert (own.peak_memory_mb or 0) > 10
    assert summary.reference is not None
    assert summary.reference.id not in {summary.seed.id}
    # Before the others, as the trained seed, and at the end of the spread and of each round's structures.
    assert summary.reference.seed_measurements == 5
    assert log.position("self-test", "reference") < log.position("measure", trained[0].id)
    for own in (summary.seed, *trained):
        assert own.latency_p50_ms == pytest.approx((own.latency_ratio or 0) * (summary.seed.latency_p50_ms or 0))
    assert summary.bytes_shipped > summary.structure_bytes.largest > 0
    assert read_summary(result.folder / "summary.json") == summary
    assert "<html" in (result.folder / "report.html").read_text(encoding="utf-8")


def test_the_winner_rebuilds_from_its_files_alone(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    import onnxruntime
    import torch

    result = pipeline.run(tiny_config, ignore, settings=quick)
    module = rebuild(result.folder / "candidate.json", result.folder / "weights.safetensors")
    image = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(result.folder / "model.onnx", providers=["CPUExecutionProvider"])
    expected = module(torch.from_numpy(image)).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"input": image})[0], expected, atol=1e-4)
    model = onnx.load(result.folder / "model.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)


def test_the_test_split_is_read_once_and_decides_nothing(
    tiny_config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Task] = []
    load_task = pipeline.load_run_task

    def with_wrong_test_labels(*asked: Any) -> Task:
        task = load_task(*asked)
        wrong = Split(task.held_out.images, (task.held_out.labels + 1) % 10)
        tasks.append(dataclasses.replace(task, held_out=wrong))
        return tasks[-1]

    monkeypatch.setattr(pipeline, "load_run_task", with_wrong_test_labels)
    # Selected on the test split, nothing would come within 50 points of the seed's validation accuracy.
    config = tiny_config.model_copy(update={"max_accuracy_drop": 50.0, "seed_epochs": 8, "epochs": 4})
    summary = pipeline.run(config, ignore, settings=quick).summary

    assert tasks[-1].test_reads == 1
    assert summary.best is not None
    assert summary.seed.val_top1 is not None
    assert summary.seed.val_top1 > 0.6
    assert (summary.seed.test_top1 or 0.0) < 0.2
    assert (summary.best.val_top1 or 0.0) > (summary.best.test_top1 or 0.0)


def test_a_corrupt_image_is_warned_of_at_once_and_in_the_report(
    tiny_config: RunConfig, quick: MeasureSettings, tmp_path: Path
) -> None:
    for label, name in enumerate(["dark", "light"]):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (16, 16), 100 * label + number).save(tmp_path / "images" / name / f"{number}.png")
    (tmp_path / "images" / "dark" / "3.png").write_bytes(b"no image")
    events: list[Event] = []
    config = tiny_config.model_copy(update={"data": str(tmp_path / "images"), "rounds": 1, "seed_epochs": 1})
    summary = pipeline.run(config, events.append, settings=quick).summary
    (warning,) = (own for own in summary.warnings if "dark/3.png" in own)
    assert "1 of 20 images are unreadable" in warning
    assert Warned(warning) in events


def test_a_task_of_the_users_own_is_streamed_and_judged_by_its_own_metric(
    tiny_config: RunConfig, quick: MeasureSettings
) -> None:
    changes = {"data": "tiny_task:stripes", "rounds": 1, "seed_epochs": 4, "importance": "taylor"}
    summary = pipeline.run(tiny_config.model_copy(update=changes), ignore, settings=quick).summary
    assert summary.data.metric == "a tenth"
    assert (summary.data.train, summary.data.class_names) == (60, ("across", "along"))
    # A tenth of the share that is found: by any other metric, half of two classes would be far more.
    assert 0.0 < (summary.seed.val_top1 or 0.0) <= 0.1
    assert summary.best is not None
    assert 0.0 < (summary.best.test_top1 or 0.0) <= 0.1


def test_a_segmentation_task_is_searched_trained_and_judged_like_any_other(
    tiny_config: RunConfig, quick: MeasureSettings
) -> None:
    changes = {"data": "tiny_task:halves", "model": "tiny_seed:maps", "ratios": (1.0, 0.25), "rounds": 1}
    result = pipeline.run(tiny_config.model_copy(update=changes), ignore, settings=quick)
    summary = result.summary
    assert summary.data.metric == "IoU"
    # Top-1 knows no maps: any share at all is the task's own.
    assert summary.seed.test_top1 is not None
    (trained,) = (own for own in summary.candidates if own.status == "trained")
    assert trained.val_top1 is not None
    report = (result.folder / pipeline.REPORT_FILE).read_text(encoding="utf-8")
    assert "Val. IoU" in report
    assert "top-1" not in report


def damaged(content: bytes) -> bytes:
    """Return the model with one weight tensor scaled: still valid, another network."""
    model = onnx.load_model_from_string(content)
    tensor = max(model.graph.initializer, key=lambda own: len(own.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.5, tensor.name))
    return bytes(model.SerializeToString())


def break_candidates_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage every export but the first, which is the seed's."""
    export, calls = trainings.export_onnx, []

    def export_damaged(*arguments: object, **versions: int) -> bytes:
        calls.append(1)
        content = export(*arguments, **versions)  # type: ignore[arg-type]
        return content if len(calls) == 1 else damaged(content)

    monkeypatch.setattr(trainings, "export_onnx", export_damaged)


def test_a_damaged_export_fails_its_parity_check_and_is_never_shipped(
    tiny_config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_candidates_export(monkeypatch)
    config = tiny_config.model_copy(update={"rounds": 1})
    result = pipeline.run(config, ignore, settings=quick)
    assert result.summary.best is None
    assert result.summary.best_reason == "no candidate was trained, exported and measured to the end"

    outcomes = outcomes_of(config)
    failed = [own for own in outcomes if own.stage == "export" and own.failure is not None]
    assert [own.failure.kind for own in failed if own.failure] == [FailureKind.PARITY_FAILED]
    assert not [own for own in outcomes if own.stage == "verify" and own.subject == failed[0].subject]
    summary = Summary.from_json(next(config.out.glob("*/summary.json")).read_bytes())
    assert [own.failure.kind for own in summary.candidates if own.failure] == ["PARITY_FAILED"]


def test_the_device_notices_a_damaged_export_by_itself(
    tiny_config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_candidates_export(monkeypatch)
    monkeypatch.setattr(trainings, "check_parity", lambda *_: Parity(0.0, 1.0))
    config = tiny_config.model_copy(update={"rounds": 1})
    assert pipeline.run(config, ignore, settings=quick).summary.best is None
    failed = [own.failure for own in outcomes_of(config) if own.stage == "verify" and own.failure]
    assert [own.kind for own in failed] == [FailureKind.PARITY_FAILED]
    assert "the device's outputs differ" in failed[0].message


def test_given_weights_are_the_seed(tiny_config: RunConfig, quick: MeasureSettings, tmp_path: Path) -> None:
    first = pipeline.run(tiny_config, ignore, settings=quick)
    weights = next(first.folder.glob(f"candidates/{first.summary.seed.id}/weights.safetensors"))
    config = tiny_config.model_copy(update={"weights": weights, "out": tmp_path / "second", "rounds": 1})
    log = Log()
    second = pipeline.run(config, log, settings=quick)
    assert second.summary.seed.val_top1 == first.summary.seed.val_top1
    seed = next(own for own in outcomes_of(config) if own.stage == "seed")
    assert seed.payload is not None
    assert seed.payload["device"] == "given"

    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not safetensors")
    with pytest.raises(UsageError, match="not a readable safetensors file"):
        pipeline.run(config.model_copy(update={"weights": wrong, "out": tmp_path / "third"}), ignore, settings=quick)


def test_a_budget_that_nothing_meets_is_exit_4_with_the_report_written(
    scbp_host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    flags = "--model tiny_seed:factory --input-shape 1x16x16 --ratios 1,0.5 --measure 2 --train 1 --rounds 1"
    epochs = "--seed-epochs 1 --epochs 1"
    done = scbp_host("run", *flags.split(), *epochs.split(), "--memory-budget", "1MB", "--json")
    assert done.returncode == 4, done.stderr
    (line,) = [own for own in done.stderr.splitlines() if own.startswith("error:")]
    assert "nothing meets the budgets" in line or "no candidate was trained" in line
    assert json.loads(done.stdout)["best"] is None
    assert list((tmp_path / "runs").glob("*/report.html"))
