"""A whole run on a device that runs ncnn: everything is ONNX up to the last step before it travels."""

from __future__ import annotations

from pathlib import Path

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.events import ignore
from scbp_host.measuring.session import MeasureSettings


def test_a_run_ranks_what_ncnn_measured(tiny_config: RunConfig, quick: MeasureSettings, tmp_path: Path) -> None:
    profile = tmp_path / "board.toml"
    profile.write_text('extends = "local"\nruntime = "ncnn"\n', encoding="utf-8")
    config = tiny_config.model_copy(update={"device": str(profile), "rounds": 1})
    result = pipeline.run(config, ignore, settings=quick)

    summary = result.summary
    assert summary.device.runtime == "ncnn"
    assert summary.device.runtime_settings == {}, "not those of the base's onnxruntime"
    assert summary.best is not None
    # From ncnn's outputs, which have passed the comparison with torch's.
    assert summary.best.test_top1 is not None
    assert summary.best.val_top1 is not None
    assert all(own.wire_bytes for own in (summary.seed, summary.best))
    assert (result.folder / "model.onnx").is_file(), "the winner is handed over as ONNX"
