"""What a model shows alone, from the device to the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import quick_measuring

from scbp_agent import wire
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.alone import Alone, DeviceTimes
from scbp_host.domain.measurement import Measurement
from scbp_host.errors import CapabilityError
from scbp_host.measuring.alone import require_energy, to_alone
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.profiles import load_profile

MakeOnnx = Callable[..., bytes]
QUICK = replace(quick_measuring.QUICK, loads=2, blocks=2, solo_loop_s=0.4)


def measure(client: DeviceClient, onnx: bytes, settings: MeasureSettings = QUICK) -> Measurement:
    measured = MeasuringSession(client, settings, client.options, onnx, None).measure(onnx, pack=False)
    assert isinstance(measured, Measurement)
    return measured


@pytest.fixture
def local(tmp_path: Path) -> DeviceClient:
    return open_device(load_profile("local"), tmp_path / "agent")


def test_phases_and_warm_ups_are_kept_and_survive_the_store(local: DeviceClient, make_onnx: MakeOnnx) -> None:
    with local as client:
        measurement = measure(client, make_onnx(8))
    alone = measurement.alone
    assert alone is not None
    assert list(alone.phases) == ["load", "inference", "warm load"], "nothing is built for onnxruntime"
    assert alone.cold_load.duration_ns == measurement.load_ns
    assert max(alone.cold_load.peak_rss_bytes, alone.inference.peak_rss_bytes) == measurement.peak_rss_bytes
    assert len(alone.runs_ns) == QUICK.solo_runs
    assert len(measurement.candidate_warmup_ns) >= 3 * QUICK.loads
    assert (measurement.period_ns, measurement.missed_periods, alone.missed_periods) == (None, None, None)
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_a_measurement_of_an_older_version_is_still_one(local: DeviceClient, make_onnx: MakeOnnx) -> None:
    with local as client:
        stored = measure(client, make_onnx(8)).to_json()
    for name in ("alone", "period_ns", "missed_periods", "candidate_warmup_ns", "reference_warmup_ns"):
        del stored[name]
    old = Measurement.from_json(stored)
    assert (old.alone, old.period_ns, old.candidate_warmup_ns) == (None, None, ())


def test_at_a_cameras_rate_pair_and_loop_wait_for_their_frames(local: DeviceClient, make_onnx: MakeOnnx) -> None:
    settings = replace(QUICK, period_ns=10_000_000, warmup_limit_s=0.05)
    with local as client:
        measurement = measure(client, make_onnx(8), settings)
    assert measurement.period_ns == 10_000_000
    assert measurement.missed_periods is not None
    assert measurement.alone is not None
    # 0.4 s at 100 Hz, but for what a busy machine misses.
    assert len(measurement.alone.runs_ns) + (measurement.alone.missed_periods or 0) in range(38, 43)


def test_energy_comes_where_the_board_tells_its_power(
    tmp_path: Path, make_onnx: MakeOnnx, make_board: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCBP_BOARD_ROOT", make_board("jetson-orin-nano"))
    with open_device(load_profile("local"), tmp_path / "agent") as client:
        require_energy(client)
        measurement = measure(client, make_onnx(8), replace(QUICK, solo_loop_s=1.0))
    assert measurement.alone is not None
    energy = measurement.alone.energy
    assert energy is not None
    assert (energy.mean_w, energy.rails) == (12.5, ("VDD_IN",))
    assert energy.joules == pytest.approx(12.5 * 1.0 / len(measurement.alone.runs_ns), rel=0.2)


@pytest.mark.parametrize("board", ["pc", "raspberry-pi-5"])
def test_a_board_that_does_not_tell_the_power_of_all_of_it_can_have_no_energy_budget(
    tmp_path: Path, make_board: Callable[..., str], monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    monkeypatch.setenv("SCBP_BOARD_ROOT", make_board(board))
    with (
        open_device(load_profile("local"), tmp_path / "agent") as client,
        pytest.raises(CapabilityError, match="local: no sensor tells the power of the whole board") as caught,
    ):
        require_energy(client)
    assert "scbp-host devices probe local" in caught.value.hint


def test_a_workers_memory_limit_comes_from_the_profile(tmp_path: Path, make_onnx: MakeOnnx) -> None:
    profile = tmp_path / "tight.toml"
    profile.write_text('extends = "local"\nmemory_limit_mb = 1\n')
    assert load_profile(str(profile)).memory_limit_bytes == 10**6
    assert load_profile("local").memory_limit_bytes is None


def test_what_a_built_model_and_a_gpu_add_is_kept() -> None:
    phase = wire.Phase(1, 2, 3, True, 4, 5, "nvmap", 6)
    times = wire.DeviceTimes([1], [2], [3], [4])
    solo = wire.SoloResult(1, phase, phase, phase, [1], [2], 0, 1, None, None, times, ["b", "a"], {})
    built = wire.BuildResult(70, True, None, None, ["a"], {})
    alone = to_alone(built, solo)
    assert (alone.build_ns, alone.build, alone.notes) == (70, None, ("a", "b"))
    assert alone.device_times == DeviceTimes((1,), (2,), (3,), (4,))
    assert alone.device_times.medians_ms == {"h2d": 1e-6, "compute": 2e-6, "d2h": 3e-6, "enqueue": 4e-6}
    assert Alone.from_json(json.loads(json.dumps(alone.to_json()))) == alone
    fresh = to_alone(built._replace(cached=False, phase=phase), solo)
    assert next(iter(fresh.phases)) == "build"
    assert fresh.build == fresh.cold_load
    assert Alone.from_json(json.loads(json.dumps(fresh.to_json()))) == fresh
