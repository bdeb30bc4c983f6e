"""What a board says of itself, read from trees of files and programs as boards have them."""

from __future__ import annotations

import mmap
import platform
import random
import string
import sys
import time

import pytest

from scbp_agent import conditions, identity, memory, probing, raspberry, sampler, tegrastats
from scbp_agent.probing import Source
from scbp_agent.runtimes import advice

# One line each of JetPack 4 (Nano), 5 (Xavier NX), 6 (Orin Nano) and 7; real ones, from public threads.
LINES = {
    "nano": (
        "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,4%@1224,3%@1224,"
        "6%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C CPU@40C PMIC@50C GPU@40C AO@45C thermal@40C"
        " POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"
    ),
    "xavier-nx": (
        "07-09-2024 13:31:31 RAM 3168/6851MB (lfb 2x4MB) SWAP 161/3426MB (cached 0MB) CPU [23%@1397,17%@1192,16%@1190,"
        "13%@1190,23%@1190,10%@1190] EMC_FREQ 2%@204 GR3D_FREQ 0%@[114] VIC_FREQ 115 APE 150 AUX@45C CPU@46.5C"
        " thermal@45.6C AO@45C GPU@45.5C PMIC@50C VDD_IN 2763mW/2846mW VDD_CPU_GPU_CV 650mW/670mW VDD_SOC 650mW/711mW"
    ),
    "orin-nano": (
        "11-15-2024 08:38:09 RAM 6185/7620MB (lfb 8x2MB) SWAP 851/3810MB (cached 1MB) CPU [15%@729,11%@729,14%@729,"
        "13%@729,11%@729,8%@729] EMC_FREQ 43%@2133 GR3D_FREQ 63%@[621] NVDEC off NVJPG off NVJPG1 off VIC off OFA off"
        " APE 200 cpu@53.968C soc2@52.437C soc0@50.75C gpu@53.343C tj@53.968C soc1@51.656C VDD_IN 12479mW/12479mW"
        " VDD_CPU_GPU_CV 4667mW/4667mW VDD_SOC 2817mW/2817mW"
    ),
    "jetpack 7": (
        "09-19-2026 13:33:02 RAM 2850/7486MB (lfb 33x4MB) CPU [2%@729,0%@729,0%@729,0%@729,1%@729,0%@729] EMC_FREQ"
        " 5%@665 GR3D_FREQ 0%@[305] NVDEC0 off NVJPG0 off NVJPG1 off VIC off OFA off APE 200 cpu@45.812C/45.812C"
        " soc2@44.843C/44.843C soc0@46.093C/46.093C gpu@46.843C/46.843C tj@46.843C/46.843C soc1@46.281C/46.281C"
        " VDD_IN 3582mW/3582mW/3582mW VDD_CPU_GPU_CV 523mW/523mW/523mW VDD_SOC 1127mW/1127mW/1127mW"
    ),
}


def test_a_jetson_is_known_by_its_device_tree_and_l4t_release(make_board):
    nano = Source(make_board("jetson-nano"))
    assert identity.board(nano) == "NVIDIA Jetson Nano Developer Kit"
    assert identity.compatible(nano) == ["nvidia,p3450-0000", "nvidia,tegra210"]
    assert identity.os_release(nano) == "Ubuntu 18.04.6 LTS, L4T 32.7.1"
    assert (identity.l4t(nano), identity.jetpack(nano)) == ("32.7.1", "4.6.1 to 4.6.6")
    assert memory.total_bytes(nano.root) == 4059216 * 1024
    assert memory.available_bytes(nano.root) == 2841928 * 1024


def test_a_board_without_a_device_tree_is_known_by_its_cpu(make_board):
    pc = Source(make_board("pc"))
    assert identity.board(pc) == f"Example CPU @ 2.00GHz ({platform.machine()})"
    assert (identity.compatible(pc), identity.l4t(pc), identity.jetpack(pc)) == ([], None, None)


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        ("32 (release), REVISION: 6.1", "4.6"),
        ("36 (release), REVISION: 3.0", "6.0"),
        ("99 (release), REVISION: 1.0", None),
    ],
)
def test_jetpack_follows_from_the_l4t_release(tmp_path, release, jetpack):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text(f"# R{release}, GCID: 1\n")
    assert identity.jetpack(Source(str(tmp_path))) == jetpack


@pytest.mark.parametrize(
    ("machine", "kernel", "emulator"),
    [
        ("aarch64", "aarch64", None),
        ("armv7l", "aarch64", None),
        ("i686", "x86_64", None),
        ("aarch64", "x86_64", "user mode on x86_64"),
        ("x86_64", "aarch64", "user mode on aarch64"),
        ("aarch64", None, None),
    ],
)
def test_a_processor_that_is_not_the_kernels_is_emulated(tmp_path, monkeypatch, machine, kernel, emulator):
    monkeypatch.setattr(identity.platform, "machine", lambda: machine)
    if kernel:
        (tmp_path / "proc/sys/kernel").mkdir(parents=True)
        (tmp_path / "proc/sys/kernel/arch").write_text(f"{kernel}\n")
    assert identity.emulator(Source(str(tmp_path))) == emulator


def test_the_tests_own_device_says_that_it_is_emulated(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/virtual-device").write_text("kind=qemu-user, cortex-a72\n")
    assert identity.emulator(Source(str(tmp_path))) == "qemu-user, cortex-a72"


@pytest.mark.parametrize(
    ("name", "cpu", "gpu"),
    [
        ("jetson-nano", ["fp32", "int8"], ["fp32", "fp16"]),
        ("jetson-orin-nano", ["fp32", "int8", "fp16"], ["fp32", "fp16", "int8"]),
        ("raspberry-pi-4", ["fp32", "int8"], None),
        ("raspberry-pi-5", ["fp32", "int8", "fp16"], None),
        ("pc", ["fp32", "int8"], None),
    ],
)
def test_precisions_are_those_of_the_hardware(make_board, name, cpu, gpu):
    assert identity.precisions(Source(make_board(name))) == {"cpu": cpu, "gpu": gpu}


@pytest.mark.parametrize(
    ("name", "mode", "policy"),
    [
        ("jetson-nano", "MAXN", "DVFS"),
        ("jetson-orin-nano", "MAXN_SUPER", "locked"),
        ("raspberry-pi-4", None, "locked"),
        ("raspberry-pi-5", None, "DVFS"),
        ("pc", None, "DVFS"),
    ],
)
def test_power_mode_and_whether_the_clocks_may_move(make_board, name, mode, policy):
    found = conditions.read_conditions(make_board(name))
    assert (found["power_mode"], found["clock_policy"]) == (mode, policy)


def test_a_jetson_whose_gpu_may_slow_down_is_not_locked(make_board, tmp_path):
    root = make_board("jetson-orin-nano")
    (tmp_path / "jetson-orin-nano/sys/class/devfreq/17000000.gpu/min_freq").write_text("306000000\n")
    assert conditions.read_conditions(root)["clock_policy"] == "DVFS"


def test_a_power_mode_without_a_name_is_its_number(make_board, tmp_path):
    root = make_board("jetson-orin-nano")
    (tmp_path / "jetson-orin-nano/etc/nvpmodel.conf").write_text("")
    assert conditions.power_mode(Source(root)) == "2"


def test_conditions_of_a_jetson_nano(make_board):
    assert conditions.read_conditions(make_board("jetson-nano")) == {
        "loadavg": [0.52, 0.58, 0.59],
        "memory_available_bytes": 2841928 * 1024,
        "power_mode": "MAXN",
        "clock_policy": "DVFS",
        "governors": {"cpu0": "schedutil"},
        "device_governors": {"57000000.gpu": "nvhost_podgov"},
        "cpu_freq_khz": {"cpu0": 1224000},
        "device_freq_hz": {"57000000.gpu": 76800000, "tegrastats emc": 1600000000, "tegrastats gpu": 76000000},
        "temperatures_c": {"thermal_zone0 AO-therm": 45.0, "thermal_zone1 CPU-therm": 40.0},
        "throttle": {"gpu-throttle-alert": 0},
        "power": {
            "sampler": "INA3221, iio",
            "rails_w": {"POM_5V_IN": 1.75, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.366},
            "total_w": 1.75,
            "total_rails": ["POM_5V_IN"],
        },
        "unreadable": None,
    }


def test_where_only_root_may_read_the_sensors_tegrastats_tells(make_board, tmp_path):
    root = make_board("jetson-nano")
    for path in (tmp_path / "jetson-nano/sys/bus/i2c").rglob("rail_name_*"):
        path.unlink()
    power = conditions.read_conditions(root)["power"]
    assert (power["sampler"], power["total_w"], power["total_rails"]) == ("tegrastats", 1.75, ["POM_5V_IN"])


def test_an_orin_tells_power_as_volts_and_amperes_and_its_throttling(make_board):
    found = conditions.read_conditions(make_board("jetson-orin-nano"))
    assert found["power"] == {
        "sampler": "INA3221, hwmon",
        "rails_w": {"VDD_IN": 12.5, "VDD_CPU_GPU_CV": pytest.approx(4.67)},
        "total_w": 12.5,
        "total_rails": ["VDD_IN"],
    }
    assert found["throttle"] == {"cpu-throttle-alert": 1, "oc1_event_cnt": 0, "oc3_event_cnt": 37}
    assert found["temperatures_c"] == {"thermal_zone0 cpu-thermal": 53.968, "thermal_zone1 cv0-thermal": None}
    assert found["unreadable"] is None, "a sensor that is switched off is no fault"


def test_a_pi_4_tells_its_throttling_and_no_power(make_board):
    found = conditions.read_conditions(make_board("raspberry-pi-4"))
    assert found["throttle"] == {
        "under_voltage": 0,
        "frequency_capped": 1,
        "throttled": 1,
        "soft_temperature_limit": 1,
        "under_voltage_since_boot": 1,
        "frequency_capped_since_boot": 0,
        "throttled_since_boot": 1,
        "soft_temperature_limit_since_boot": 0,
    }
    assert found["power"] is None
    assert found["unreadable"] is None


def test_a_pi_5_tells_its_rails_paired_by_name_and_no_total(make_board):
    power = conditions.read_conditions(make_board("raspberry-pi-5"))["power"]
    assert power == {
        "sampler": "vcgencmd pmic_read_adc",
        "rails_w": {"VDD_CORE": pytest.approx(6.22421 * 0.861733), "3V3_SYS": pytest.approx(0.05855 * 3.3)},
        "total_w": None,
        "total_rails": None,
    }


def test_conditions_of_a_pc(make_board):
    found = conditions.read_conditions(make_board("pc"))
    assert found["governors"] == {"cpu2": "powersave", "cpu10": "powersave"}
    assert found["cpu_freq_khz"] == {"cpu2": 1479000, "cpu10": None}
    assert found["temperatures_c"] == {"thermal_zone0 x86_pkg_temp": 45.5, "thermal_zone1 x86_pkg_temp": None}
    assert found["power"]["rails_w"] == {"BAT0": 12.5}
    assert found["power"]["total_w"] is None
    assert found["unreadable"] is None, "<unknown> is what the kernel says where it does not know"


def test_conditions_of_a_board_that_tells_nothing_are_none(tmp_path):
    assert set(conditions.read_conditions(str(tmp_path)).values()) == {None}


def test_a_sensor_that_talks_nonsense_is_none_and_named(make_board, tmp_path):
    root = make_board("raspberry-pi-4")
    tree = tmp_path / "raspberry-pi-4"
    (tree / "proc/loadavg").write_text("busy\n")
    (tree / "sys/class/thermal/thermal_zone0/temp").write_text("hot\n")
    (tree / "usr/bin/vcgencmd").write_text("#!/bin/sh\necho VCHI initialization failed\n")
    found = conditions.read_conditions(root)
    assert found["temperatures_c"] == {"thermal_zone0 cpu-thermal": None}
    assert (found["loadavg"], found["throttle"]) == (None, None)
    assert found["unreadable"] == [
        "loadavg: 'busy'",
        "/sys/class/thermal/thermal_zone0/temp: 'hot'",
        "vcgencmd get_throttled: 'VCHI initialization failed'",
        "vcgencmd pmic_read_adc: 'VCHI initialization failed'",
    ]


def test_what_moves_during_a_measurement_is_taken_without_tegrastats(make_board, monkeypatch):
    monkeypatch.setattr(tegrastats, "read", None)
    found = conditions.sample(make_board("jetson-nano"))
    assert set(found) == {"cpu_freq_khz", "device_freq_hz", "temperatures_c", "throttle", "power", "unreadable"}
    assert found["power"]["total_w"] == 1.75


@pytest.mark.parametrize(
    ("name", "emc_mhz", "gpu_mhz", "heat", "rails_w"),
    [
        ("nano", 1600, 76, ("AO", 45.0), {"POM_5V_IN": 1.75, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.366}),
        ("xavier-nx", 204, 114, ("CPU", 46.5), {"VDD_IN": 2.763, "VDD_CPU_GPU_CV": 0.65, "VDD_SOC": 0.65}),
        ("orin-nano", 2133, 621, ("tj", 53.968), {"VDD_IN": 12.479, "VDD_CPU_GPU_CV": 4.667, "VDD_SOC": 2.817}),
        ("jetpack 7", 665, 305, ("gpu", 46.843), {"VDD_IN": 3.582, "VDD_CPU_GPU_CV": 0.523, "VDD_SOC": 1.127}),
    ],
)
def test_lines_of_tegrastats(name, emc_mhz, gpu_mhz, heat, rails_w):
    found = tegrastats.parse(LINES[name])
    assert (found["emc_hz"], found["gpu_hz"]) == (emc_mhz * 10**6, gpu_mhz * 10**6)
    assert found["temperatures_c"][heat[0]] == heat[1]
    assert found["rails_w"] == rails_w, "neither memory nor swap is a rail"


def test_a_line_of_tegrastats_without_root_on_a_thor_with_dead_sensors():
    found = tegrastats.parse("CPU [off,0%@972] GR3D_FREQ @[314,314,314] cv0@-256C tj@41.5C VIN 31250mW/31250mW")
    assert found == {
        "emc_hz": None,
        "gpu_hz": 314000000,
        "temperatures_c": {"tj": 41.5},
        "rails_w": {"VIN": 31.25},
    }


def is_within(part, whole):
    """Whether a cut line's reading is the whole line's, as far as it goes."""
    if part is None:
        return True
    return part == whole if not isinstance(part, dict) else all(whole.get(name) == own for name, own in part.items())


@pytest.mark.parametrize("name", LINES)
def test_a_truncated_line_says_less_and_nothing_else(name):
    whole = tegrastats.parse(LINES[name])
    for length in range(len(LINES[name])):
        line = LINES[name][:length]
        if not line.endswith(" ") and LINES[name][length] != " ":
            # The last word is cut: what it says may be another number, as in 17|50.
            line = line.rpartition(" ")[0]
        try:
            part = tegrastats.parse(line)
        except ValueError:
            continue
        assert all(is_within(part[key], whole[key]) for key in whole), line


@pytest.mark.parametrize("parse", [tegrastats.parse, raspberry.throttle_flags, raspberry.rails_w])
def test_garbled_text_is_a_value_error_or_a_reading_but_never_a_crash(parse):
    source = random.Random(0)
    texts = [*LINES.values(), "throttled=0x50005", "VDD_CORE_A current(7)=6.22A\nVDD_CORE_V volt(15)=0.86V\n"]
    for _ in range(2000):
        letters = list(source.choice(texts))
        for _ in range(source.randint(1, 8)):
            letters[source.randrange(len(letters))] = source.choice(string.printable + "é\0°")
        try:
            parse("".join(letters))
        except ValueError:
            continue


def test_a_program_that_hangs_is_ended_and_what_it_said_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "PROGRAM_DEADLINE_S", 0.3)
    program = tmp_path / "hang"
    program.write_text("#!/bin/sh\necho $$\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    started = time.monotonic()
    process_id = Source(str(tmp_path)).run("/hang")
    assert time.monotonic() - started < 60
    with pytest.raises(ProcessLookupError):
        probing.os.kill(int(process_id), 0)


def test_a_program_that_never_stops_talking_is_ended(tmp_path):
    program = tmp_path / "chatter"
    program.write_text("#!/bin/sh\nexec yes\n")
    program.chmod(0o755)
    assert set(Source(str(tmp_path)).run("/chatter")) == {"y", "\n"}
    assert Source(str(tmp_path)).run("/chatter", one_line=True) == "y"


def test_a_program_that_cannot_be_started_says_nothing(tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    assert Source(str(tmp_path)).run("/text") == Source(str(tmp_path)).run("/absent") == ""


def test_missing_packages_come_with_the_command_for_this_python(monkeypatch):
    monkeypatch.setattr(advice.sys, "executable", "/usr/bin/python3")
    assert advice.pip_hint("numpy") == "/usr/bin/python3 -m pip install numpy"
    monkeypatch.setattr(advice.os.path, "exists", lambda path: path.endswith("EXTERNALLY-MANAGED"))
    monkeypatch.setattr(advice.sys, "prefix", sys.base_prefix)
    assert advice.pip_hint("numpy", "onnxruntime") == (
        "/usr/bin/python3 -m venv ~/scbp-python && ~/scbp-python/bin/python -m pip install numpy onnxruntime"
    )


def test_how_to_get_tensorrt_depends_on_the_board(make_board):
    nano, pi = Source(make_board("jetson-nano")), Source(make_board("raspberry-pi-4"))
    assert "sudo apt-get install nvidia-jetpack" in advice.tensorrt_hint(nano, "tensorrt")
    assert "needs an NVIDIA GPU" in advice.tensorrt_hint(pi, "tensorrt")


def test_libraries_are_found_by_their_metadata_without_being_imported(tmp_path, monkeypatch):
    for name in ("tensorrt-8.2.1.8.dist-info", "numpy-1.13.3.egg-info", "cuda_python-12.6.0.dist-info", "numpy"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(identity.sys, "path", [str(tmp_path)])
    assert identity.libraries() == {"tensorrt": "8.2.1.8", "numpy": "1.13.3", "cuda-python": "12.6.0"}


def test_peak_memory_rises_with_use_and_can_be_reset():
    # Mapped: what other tests freed may lie in the heap, resident, and would be taken from there without a rise.
    with mmap.mmap(-1, 64 * 1024 * 1024) as block:
        block.write(b"x" * len(block))
        before = memory.peak_rss_bytes()
    assert before > 64 * 1024 * 1024
    if memory.reset_peak_rss():
        assert memory.peak_rss_bytes() < before


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end


def test_samples_are_taken_while_something_is_measured(make_board):
    root = make_board("jetson-orin-nano")
    with sampler.Sampler(lambda: conditions.sample(root), period_s=0.001) as taken:
        wait_until(lambda: len(taken.samples) >= 3)
    count = len(taken.samples)
    assert taken.samples[0].value["power"]["total_w"] == 12.5
    assert [own.at_ns for own in taken.samples] == sorted(own.at_ns for own in taken.samples)
    assert len(taken.samples) == count, "none after the end"


def test_a_long_measurements_samples_are_thinned_out_and_the_worst_can_stay():
    falling = iter(range(1000, 0, -1))
    taken = sampler.Sampler(lambda: next(falling), period_s=0.0001, limit=8, keep=sampler.smaller)
    with taken:
        wait_until(lambda: taken._period_s >= 0.0008)
    assert 4 <= len(taken.samples) <= 8
    assert taken.samples[-1].value == min(own.value for own in taken.samples) == next(falling) + 1
    assert taken._thread.is_alive() is False


def test_a_short_measurement_waits_for_no_sample_and_nothing_read_is_none():
    with sampler.Sampler(lambda: 1, period_s=3600.0) as taken:
        pass
    assert taken.samples == []
    reads = []
    with sampler.Sampler(lambda: reads.append(1), period_s=0.0001) as taken:
        wait_until(lambda: len(reads) > 3)
    assert taken.samples == []
