"""The real pipeline on a network that takes a second: the real agent, real training, a real store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import quick_measuring

from scbp_host.config import RunConfig
from scbp_host.measuring.session import MeasureSettings

HERE = Path(__file__).parent

QUICK = replace(quick_measuring.QUICK, warmup_s=0.005)


@pytest.fixture
def tiny_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A whole run in a few seconds; accuracy is no budget here, since nothing trains long enough."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return RunConfig(
        device="local",
        model="tiny_seed:factory",
        input_shape=(1, 16, 16),
        ratios=(1.0, 0.5),
        measure=2,
        train=1,
        rounds=2,
        together=3,
        seed_epochs=6,
        epochs=1,
        max_accuracy_drop=100.0,
        decide_seconds=0.0,
        out=tmp_path / "runs",
    )


@pytest.fixture
def quick() -> MeasureSettings:
    """Measurements too short to be worth anything but a test."""
    return QUICK


@pytest.fixture
def scbp_host(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The installed command, in a process and a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        # This process's own path too: the packages under test, and nothing that happens to be installed.
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        "SCBP_LOCK_FOLDER": os.environ["SCBP_LOCK_FOLDER"],
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "scbp-host"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)

    return call
