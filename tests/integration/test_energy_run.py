"""Whole runs under an energy budget, on this machine with a board's power sensors, and without any."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.errors import CapabilityError
from scbp_host.events import ignore
from scbp_host.measuring.session import MeasureSettings
from scbp_host.report import Summary
from scbp_host.store import STORE_FILE, RunStatus, Store

ScbpHost = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def powered(make_board: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent reads a Jetson's sensors: 12.5 W, whatever runs."""
    monkeypatch.setenv("SCBP_BOARD_ROOT", make_board("jetson-orin-nano"))


@pytest.fixture
def unpowered(make_board: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent finds no sensor."""
    monkeypatch.setenv("SCBP_BOARD_ROOT", make_board("pc"))


@pytest.mark.usefixtures("powered")
def test_a_run_keeps_to_an_energy_budget_and_others_are_ranked_offline(
    tiny_config: RunConfig, quick: MeasureSettings, scbp_host: ScbpHost
) -> None:
    config = tiny_config.model_copy(update={"energy_budget": 1e6, "rounds": 1})
    summary = pipeline.run(config, ignore, settings=quick).summary
    assert summary.best is not None
    assert summary.best.chances is not None
    assert summary.best.chances.of_budgets == {"energy": 1.0, "accuracy": 1.0}
    assert summary.best.energy is not None
    assert summary.best.energy.mean_w == 12.5
    assert summary.budgets.energy_mj == 1e6

    out = ("--out", str(config.out), "--json")
    ranked = scbp_host("rank", "--energy-budget", "1e3J", *out)
    assert ranked.returncode == 0, ranked.stderr
    assert Summary.from_json(ranked.stdout).best == summary.best.model_copy(
        update={"chances": summary.best.chances.model_copy(update={"accuracy": None})}
    )
    impossible = scbp_host("rank", "--energy-budget", "1e-6uJ", *out)
    assert impossible.returncode == 4
    assert "the nearest miss: energy of one inference" in impossible.stderr
    assert json.loads(impossible.stdout)["best"] is None


@pytest.mark.usefixtures("powered")
def test_what_surely_takes_too_much_energy_is_not_trained(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    config = tiny_config.model_copy(update={"energy_budget": 1e-9})
    summary = pipeline.run(config, ignore, settings=quick).summary
    assert summary.best is None
    assert summary.best_reason.startswith("nothing meets the budgets, so nothing was trained; the nearest miss: energy")
    assert {own.status for own in summary.candidates} == {"measured"}


@pytest.mark.usefixtures("unpowered")
def test_without_sensors_an_energy_budget_is_refused_before_anything_is_done(
    tiny_config: RunConfig, quick: MeasureSettings
) -> None:
    config = tiny_config.model_copy(update={"energy_budget": 50.0})
    with pytest.raises(CapabilityError, match="no sensor tells the power of the whole board") as caught:
        pipeline.run(config, ignore, settings=quick)
    assert caught.value.exit_code == 3
    with Store.open(config.out / STORE_FILE) as store:
        assert store.runs() == ()


@pytest.mark.usefixtures("powered")
def test_a_sensor_that_falls_silent_is_noticed_at_the_seed(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    """Of a loop that short there are too few readings: what the board promised, it does not tell."""
    config = tiny_config.model_copy(update={"energy_budget": 50.0})
    settings = MeasureSettings(**{**quick.__dict__, "solo_loop_s": 0.01})
    with pytest.raises(CapabilityError, match="local: the board did not tell the seed's energy of one inference"):
        pipeline.run(config, ignore, settings=settings)
    with Store.open(config.out / STORE_FILE) as store:
        (left,) = store.runs()
        assert left.status is not RunStatus.FINISHED
        stages = {own.stage for own in store.outcomes(left.id)}
    assert "seed" in stages
    assert "propose" not in stages
