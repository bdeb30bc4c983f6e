"""Several precisions, end to end: the real quantizer, the real agent, ONNX Runtime's own integer kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.domain.precision import Precision
from scbp_host.errors import UsageError
from scbp_host.events import Acknowledged, Event, ignore
from scbp_host.export import precision
from scbp_host.measuring.session import MeasureSettings


def integers_in(path: Path) -> set[np.dtype]:
    graph = onnx.load(path).graph
    return {
        own.dtype for own in map(numpy_helper.to_array, graph.initializer) if own.ndim == 4 and own.dtype.kind == "i"
    }


def test_every_trained_network_stands_in_each_precision(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    config = tiny_config.model_copy(update={"precision": (Precision.FP32, Precision.UINT8), "rounds": 1})
    result = pipeline.run(config, ignore, settings=quick)
    summary = result.summary
    trained = {own.id: own for own in summary.candidates if own.status == "trained"}
    (small,) = [own for own in trained if "@" not in own]
    assert set(trained) == {small, f"{small}@uint8", f"{summary.seed.id}@uint8"}
    own, as_float = trained[f"{small}@uint8"], trained[small]
    assert own.latency_ratio != as_float.latency_ratio
    assert own.onnx_bytes != as_float.onnx_bytes
    assert own.val_top1 == pytest.approx(as_float.val_top1, abs=0.05)
    folder = result.folder / "candidates" / small
    assert integers_in(folder / "model.uint8.onnx") == {np.dtype(np.int8)}
    assert integers_in(folder / "model.onnx") == set()
    assert summary.best is not None
    published = (result.folder / "model.onnx").read_bytes()
    kept = "model.uint8.onnx" if summary.best.precision == "uint8" else "model.onnx"
    assert published == (result.folder / "candidates" / summary.best.structure_id / kept).read_bytes()
    _resume_computes_nothing(config, quick)


def _resume_computes_nothing(config: RunConfig, quick: MeasureSettings) -> None:
    """Make the run unfinished again: all its stages are acknowledged, further precisions too."""
    from scbp_host.store import STORE_FILE, RunStatus, Store

    with Store.open(config.out / STORE_FILE) as store:
        store.finish_run(store.runs()[0].id, RunStatus.FAILED)
    events: list[Event] = []
    pipeline.run(config, events.append, resume=True, settings=quick)
    acknowledged = [own for own in events if isinstance(own, Acknowledged)]
    assert acknowledged
    assert all(own.reused for own in acknowledged)


def test_int8_can_be_what_the_search_goes_by(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    config = tiny_config.model_copy(update={"precision": (Precision.INT8,), "rounds": 1})
    summary = pipeline.run(config, ignore, settings=quick).summary
    assert {own.precision for own in (summary.seed, *summary.candidates)} == {"int8"}
    assert "@" not in "".join(own.id for own in summary.candidates)


def test_a_precision_that_costs_too_much_is_a_failed_row(
    tiny_config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = {**precision.GATES, Precision.UINT8: precision.Gate(1e-9, 0.1, 0.02)}
    monkeypatch.setattr("scbp_host.stages.trainings.GATES", gates)
    config = tiny_config.model_copy(update={"precision": (Precision.FP32, Precision.UINT8), "rounds": 1})
    summary = pipeline.run(config, ignore, settings=quick).summary
    failed = {own.id: own.failure.kind for own in summary.candidates if own.failure}
    assert set(failed.values()) == {"PARITY_FAILED"}
    assert all(own.endswith("@uint8") for own in failed)
    assert summary.best is not None
    assert summary.best.precision == "fp32"


def test_what_the_device_cannot_compute_is_refused_before_it_is_troubled(tiny_config: RunConfig) -> None:
    config = tiny_config.model_copy(update={"device": "jetson-nano", "precision": (Precision.INT8,)})
    with pytest.raises(UsageError, match="precision int8: NVIDIA Jetson Nano"):
        pipeline.run(config, ignore)
    assert not config.out.exists()
