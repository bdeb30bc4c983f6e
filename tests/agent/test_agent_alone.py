"""A model alone in its worker: each phase's time and memory, its pace, and the energy of an inference."""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from scbp_agent import gpu_memory, memory, phases, power, timing, watch, wire
from scbp_agent.probing import Source

VDD_IN_MA = "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input"
MEGABYTE = 10**6


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)


def solo(agent, options, model, **changes):
    plan = {"model": model, "options": options, "inputs": None, "runs": 4, "deadline_s": 60.0, **changes}
    return wire.solo_result(agent.result(wire.MEASURE_SOLO, **plan))


def test_each_phase_has_its_own_time_and_peak(agent, options, linear_model):
    large = np.zeros((48, 300_000), np.float32)
    result = solo(agent, options, agent.put_model(linear_model(large), wire.XZ))
    cold, running, warm = result.cold_load, result.inference, result.warm_load
    assert cold.started_ns < running.started_ns < warm.started_ns
    assert cold.started_ns + cold.duration_ns <= running.started_ns
    assert min(phase.duration_ns for phase in (cold, running, warm)) > 0
    assert result.load_ns == cold.duration_ns
    assert result.peak_rss_bytes == max(cold.peak_rss_bytes, running.peak_rss_bytes)
    assert cold.peak_rss_bytes > result.baseline_rss_bytes + large.nbytes
    if cold.peak_is_own:
        # A load reads the file beside the weights it makes of it; a run holds the weights alone.
        assert running.peak_rss_bytes < cold.peak_rss_bytes
    assert running.pss_bytes is None or 0 < running.pss_bytes <= running.peak_rss_bytes
    assert running.gpu_bytes is running.gpu_source is None


def test_what_the_whole_board_loses_is_seen_from_outside(
    start_agent, make_board, options, linear_model, weights, tmp_path
):
    root = make_board("raspberry-pi-5")
    agent = start_agent(SCBP_BOARD_ROOT=root).greet()
    model, ended = agent.put_model(linear_model(weights)), threading.Event()

    def lose_more_and_more():
        for kilobytes in range(7_000_000, 0, -1000):
            (tmp_path / "next").write_text(f"MemAvailable: {kilobytes} kB\n")
            (tmp_path / "next").replace(Path(root) / "proc/meminfo")
            if ended.is_set():
                return

    thread = threading.Thread(target=lose_more_and_more)
    thread.start()
    try:
        result = solo(agent, options, model, loop_ns=200_000_000)
    finally:
        ended.set()
        thread.join()
    assert result.inference.system_bytes > 0
    assert result.cold_load.system_bytes is None or result.cold_load.system_bytes < result.inference.system_bytes


def test_the_loop_is_as_long_as_the_plan_says_and_the_warm_ups_are_kept(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    result = solo(agent, options, model, warmup_ns=5_000_000, warmup_limit_ns=50_000_000, loop_ns=20_000_000)
    assert sum(result.warmup_ns) >= 5_000_000
    assert result.loop_ns >= 20_000_000
    assert len(result.runs_ns) > 4
    assert sum(result.runs_ns) <= result.loop_ns
    started_ns, ended_ns = result.inference.started_ns, result.inference.started_ns + result.inference.duration_ns
    assert started_ns < result.loop_started_ns < result.loop_started_ns + result.loop_ns <= ended_ns
    assert result.missed_periods is None


def test_at_a_cameras_rate_the_loop_waits_and_the_samples_do_not(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    result = solo(agent, options, model, runs=6, period_ns=20_000_000)
    assert result.missed_periods is not None
    assert len(result.runs_ns) == 6
    assert result.loop_ns >= 5 * 20_000_000
    assert sum(result.runs_ns) < result.loop_ns / 2


def test_a_pair_at_a_cameras_rate(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    plan = {"loads": 1, "blocks": 2, "block_ns": 10**6, "warmup_ns": 1, "deadline_s": 60.0, "period_ns": 2_000_000}
    params = {**plan, "models": [{"model": model, "options": options}] * 2, "inputs": None}
    result = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **params))
    assert result.missed_periods is not None
    assert all(len(block) <= 5 for own in result.models for block in own.blocks_ns)
    tight = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **{**params, "period_ns": None}))
    assert tight.missed_periods is None


@pytest.mark.parametrize("field", ["period_ns", "loop_ns", "warmup_ns", "warmup_limit_ns", "memory_limit_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "fast", True])
def test_a_plan_with_a_figure_that_is_none_is_refused(options, field, value):
    model = {"format": "onnx", "blobs": {"model": "0" * 64}}
    plan = {"model": model, "options": options, "inputs": None, "runs": 1, "deadline_s": 60.0}
    assert getattr(wire.solo_plan({**plan, field: None}), field) is None
    assert wire.solo_plan({**plan, field: 7}) == wire.solo_plan(plan)._replace(**{field: 7})
    with pytest.raises(wire.WireError, match=field):
        wire.solo_plan({**plan, field: value})


def test_a_runtime_without_a_build_step_has_nothing_to_build(agent, options, linear_model, weights):
    plan = {"model": agent.put_model(linear_model(weights)), "options": options, "deadline_s": 60.0}
    built = wire.build_result(agent.result(wire.MEASURE_BUILD, **plan))
    assert (built.build_ns, built.cached, built.phase) == (None, False, None)


def test_energy_is_mean_power_times_the_loop_over_its_runs(start_agent, make_board, options, linear_model, weights):
    agent = start_agent(SCBP_BOARD_ROOT=make_board("jetson-orin-nano")).greet()
    result = solo(agent, options, agent.put_model(linear_model(weights)), loop_ns=600_000_000)
    energy = result.energy
    assert energy is not None
    assert (energy.mean_w, energy.sampler, energy.rails) == (12.5, "INA3221, hwmon", ["VDD_IN"])
    assert energy.samples >= watch.MIN_POWER_SAMPLES
    assert energy.joules == pytest.approx(12.5 * result.loop_ns / 1e9 / len(result.runs_ns))


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5", "pc"])
def test_a_board_without_a_rail_for_the_whole_has_no_energy(
    start_agent, make_board, options, linear_model, weights, name
):
    agent = start_agent(SCBP_BOARD_ROOT=make_board(name)).greet()
    assert solo(agent, options, agent.put_model(linear_model(weights)), loop_ns=400_000_000).energy is None


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end


def test_power_that_moves_is_averaged_over_the_loop_alone(make_board, tmp_path, monkeypatch):
    monkeypatch.setattr(power, "FILE_PERIOD_S", 0.001)
    root = make_board("jetson-orin-nano")
    current = Path(root) / VDD_IN_MA

    def draw(milliamperes):
        # Replaced, as the kernel gives it: never half of it.
        (tmp_path / "next").write_text(str(milliamperes))
        (tmp_path / "next").replace(current)

    draw(1000)
    with watch.Watch(root, closely=True) as seen:

        def await_power(watts, count):
            wait_until(lambda: [own.value["total_w"] for own in seen._power.samples].count(watts) >= count)

        await_power(5.0, 5)
        draw(2000)
        await_power(10.0, 3)
        started_ns = timing.now_ns()
        await_power(10.0, 13)
        draw(4000)
        await_power(20.0, 10)
        ended_ns = timing.now_ns()
        draw(8000)
        await_power(40.0, 3)
    taken = [own.value["total_w"] for own in seen._power.samples if started_ns <= own.at_ns <= ended_ns]
    assert set(taken) == {10.0, 20.0}, "neither what was before nor what came after"
    energy = seen.energy(started_ns, ended_ns, 8)
    assert energy.samples == len(taken) >= 15
    assert energy.mean_w == pytest.approx(sum(taken) / len(taken))
    assert energy.joules == pytest.approx(energy.mean_w * (ended_ns - started_ns) / 1e9 / 8)


def test_where_only_root_may_read_the_sensors_tegrastats_is_listened_to(make_board):
    root = make_board("jetson-nano")
    for path in (Path(root) / "sys/bus/i2c").rglob("rail_name_*"):
        path.unlink()
    program = Path(root) / "usr/bin/tegrastats"
    line = "RAM 1923/3964MB (lfb 2x2MB) POM_5V_IN {}/1628 POM_5V_GPU 0/0"
    lines = [line.format(2000), "garbage", "", line.format(4000), "RAM 1/2MB POM_5V_GPU 7/7"]
    program.write_text(
        "#!/bin/sh\nprintf '%s\\n' " + " ".join(f"'{own}'" for own in lines) + "\nexec tail -f /dev/null\n"
    )
    started_ns = timing.now_ns()
    with watch.Watch(root, closely=True) as seen:
        wait_until(lambda: len(seen._power.samples) == 2)
    energy = seen.energy(started_ns, timing.now_ns(), 1)
    assert energy is None, "two readings are too few"
    seen._power.samples.append(seen._power.samples[-1])
    energy = seen.energy(started_ns, timing.now_ns(), 1)
    assert (energy.mean_w, energy.sampler, energy.rails) == (pytest.approx(10 / 3), "tegrastats", ["POM_5V_IN"])
    assert seen._power._process.returncode is not None, "it ends with the measurement"


def test_too_few_readings_are_no_energy(make_board, monkeypatch):
    monkeypatch.setattr(power, "FILE_PERIOD_S", 0.001)
    with watch.Watch(make_board("jetson-orin-nano"), closely=True) as seen:
        wait_until(lambda: len(seen._power.samples) > 3)
    first, third = seen._power.samples[0].at_ns, seen._power.samples[2].at_ns
    assert seen.energy(first, third, 1) is not None
    assert seen.energy(first, third - 1, 1) is None


def test_a_rail_that_fails_meanwhile_is_a_missing_sample_and_no_zero(make_board, monkeypatch):
    monkeypatch.setattr(power, "FILE_PERIOD_S", 0.001)
    root = make_board("jetson-orin-nano")
    with watch.Watch(root, closely=True) as seen:
        wait_until(lambda: len(seen._power.samples) > 3)
        (Path(root) / VDD_IN_MA).unlink()
        reads = threading.active_count()
        assert reads > 1
    assert {own.value["total_w"] for own in seen._power.samples} == {12.5}


def test_the_boards_loss_is_that_of_the_worst_moment_of_the_span(make_board, tmp_path):
    root = make_board("raspberry-pi-5")
    meminfo = Path(root) / "proc/meminfo"

    def leave(kilobytes):
        (tmp_path / "next").write_text(f"MemTotal: 8257552 kB\nMemAvailable: {kilobytes} kB\n")
        (tmp_path / "next").replace(meminfo)

    leave(7_000_000)
    before_ns = timing.now_ns()
    with watch.Watch(root, closely=True) as seen:
        wait_until(lambda: seen._memory.samples)
        nothing_lost_ns = timing.now_ns()

        def await_memory(kilobytes):
            wait_until(lambda: any(own.value == kilobytes * 1024 for own in seen._memory.samples))

        started_ns = timing.now_ns()
        for kilobytes in (6_900_000, 6_500_000, 6_800_000):
            leave(kilobytes)
            await_memory(kilobytes)
        ended_ns = timing.now_ns()
        leave(1_000_000)
        await_memory(1_000_000)
    assert seen.system_bytes(started_ns, ended_ns) == 500_000 * 1024
    assert seen.system_bytes(before_ns, nothing_lost_ns) is None
    assert seen.system_bytes(ended_ns + 10**12, ended_ns + 2 * 10**12) is None


def test_a_pair_is_watched_from_afar(make_board):
    with watch.Watch(make_board("jetson-orin-nano")) as seen:
        pass
    assert seen._power is None
    assert seen._memory.samples == []


def test_a_phases_peak_is_its_own_where_the_kernel_lets_it():
    # Mapped: what other tests freed may lie in the heap, resident, and would be taken from there without a rise.
    with phases.Phase() as first, mmap.mmap(-1, 64 * MEGABYTE) as block:
        block.write(b"x" * len(block))
    with phases.Phase() as second:
        pass
    assert first.result.peak_is_own == second.result.peak_is_own == memory.reset_peak_rss()
    if second.result.peak_is_own:
        assert first.result.peak_rss_bytes > second.result.peak_rss_bytes + 32 * MEGABYTE
    assert second.result.duration_ns < 10**9


NVMAP = """CLIENT                        PROCESS      PID        SIZE
user                             Xorg     5432       9216K
user                          python3     1234     123456K
user                          python3     1234       1024K
total                                                  130M
"""


@pytest.mark.parametrize(
    ("parse", "text", "held_bytes"),
    [
        (gpu_memory.parse_nvmap, NVMAP, (123456 + 1024) * 1024),
        (gpu_memory.parse_nvmap, NVMAP.replace("1234 ", "4321 "), None),
        (gpu_memory.parse_nvidia_smi, "777, 12\n1234, 300\n1234, 20", 320 * 1024**2),
        (gpu_memory.parse_nvidia_smi, "1234, [N/A]", None),
        (gpu_memory.parse_nvidia_smi, "", None),
    ],
)
def test_the_gpus_memory_is_counted_for_one_process(parse, text, held_bytes):
    assert parse(text, 1234) == held_bytes


def test_the_gpus_memory_comes_from_who_tells(tmp_path):
    source = Source(str(tmp_path))
    assert gpu_memory.of_process(source, 1234) is None
    program = tmp_path / "usr/bin/nvidia-smi"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho '1234, 300'\n")
    program.chmod(0o755)
    assert gpu_memory.of_process(source, 1234) == (300 * 1024**2, "nvidia-smi")
    clients = tmp_path / gpu_memory.NVMAP.lstrip("/")
    clients.parent.mkdir(parents=True)
    clients.write_text(NVMAP)
    assert gpu_memory.of_process(source, 1234) == ((123456 + 1024) * 1024, "nvmap")
    assert source.unreadable == []
    clients.write_text("Permission denied")
    assert gpu_memory.of_process(source, 1234) == (300 * 1024**2, "nvidia-smi")
    assert source.unreadable == ["nvmap: 'Permission denied'"]


def test_the_runtimes_own_count_stands_in_where_nobody_else_tells():
    phase = wire.Phase(0, 1, 1, True, None, None, None, None)
    assert phases.with_runtimes_count(phase, None, "tensorrt") == phase
    own = phases.with_runtimes_count(phase, 7, "tensorrt")
    assert (own.gpu_bytes, own.gpu_source) == (7, "tensorrt")
    told = phase._replace(gpu_bytes=9, gpu_source="nvmap")
    assert phases.with_runtimes_count(told, 7, "tensorrt") == told
