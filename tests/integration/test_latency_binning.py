"""A run whose superblocks are equal shares of the time that the real agent measured."""

from __future__ import annotations

import pytest

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.events import Acknowledged, Event, ignore
from scbp_host.measuring.session import MeasureSettings
from scbp_host.stages import binning
from scbp_host.store import STORE_FILE, Store


def stop_after_the_superblocks(event: Event) -> None:
    if isinstance(event, Acknowledged) and event.stage == "binning":
        raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_with_the_superblocks_that_were_measured(
    tiny_config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.model_copy(update={"binning": "latency", "superblocks": 2, "rounds": 1, "seed_epochs": 1})
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(config, stop_after_the_superblocks, settings=quick)

    def measured_again(*_: object, **__: object) -> None:
        pytest.fail("the layers were timed twice")

    monkeypatch.setattr(binning, "measure_layers", measured_again)
    result = pipeline.run(config, ignore, resume=True, settings=quick)

    with Store.open(config.out / STORE_FILE) as store:
        (run,) = store.runs()
        (stored,) = store.outcomes(run.id, "binning")
    assert stored.payload is not None
    assert set(stored.payload["latency_ns"]) == {"stem.0", "residual.0", "down.0", "classifier"}
    summary = result.summary
    assert [block.name for block in summary.superblocks] == ["latency-1", "latency-2"]
    assert summary.superblocks[0].groups[0].layers == ("stem.0", "residual.0"), "what is coupled stays together"
    assert summary.binning.method == "latency"
    assert summary.binning.unattributed_share == stored.payload["unattributed_share"]
    assert "Binned by latency." in (result.folder / "report.html").read_text(encoding="utf-8")
