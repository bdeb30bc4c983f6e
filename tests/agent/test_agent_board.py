"""What a board says of itself, read from trees of files as real boards have them."""

from __future__ import annotations

import platform

import pytest

from scbp_agent import conditions, facts, memory


@pytest.fixture
def root(tmp_path):
    def make(files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    return make


JETSON_NANO = {
    "proc/device-tree/model": b"NVIDIA Jetson Nano Developer Kit\0",
    "proc/device-tree/compatible": b"nvidia,p3450-0000\0nvidia,tegra210\0",
    "etc/os-release": b'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 18.04.6 LTS"\n',
    "etc/nv_tegra_release": b"# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
    "proc/meminfo": b"MemTotal:        4059216 kB\nMemFree:  100 kB\nMemAvailable:    2841928 kB\n",
}


def test_jetson_is_known_by_its_device_tree_and_l4t_release(root):
    nano = root(JETSON_NANO)
    assert facts.board(nano) == "NVIDIA Jetson Nano Developer Kit"
    assert facts.compatible(nano) == ["nvidia,p3450-0000", "nvidia,tegra210"]
    assert facts.os_release(nano) == "Ubuntu 18.04.6 LTS, L4T 32.7.1"
    assert memory.total_bytes(nano) == 4059216 * 1024
    assert memory.available_bytes(nano) == 2841928 * 1024


def test_board_without_a_device_tree_is_known_by_its_cpu(root):
    pc = root({"proc/cpuinfo": b"processor\t: 0\nmodel name\t: Example CPU @ 2.00GHz\n"})
    assert facts.board(pc) == f"Example CPU @ 2.00GHz ({platform.machine()})"
    assert facts.compatible(pc) == []


def test_conditions_are_read_where_they_are(root):
    cpu, zone = "sys/devices/system/cpu/cpu%d/cpufreq/%s", "sys/class/thermal/thermal_zone%d/%s"
    found = conditions.read_conditions(
        root(
            {
                "proc/loadavg": b"0.52 0.58 0.59 1/467 12345\n",
                "proc/meminfo": b"MemAvailable:    1000 kB\n",
                cpu % (0, "scaling_governor"): b"schedutil\n",
                cpu % (0, "scaling_cur_freq"): b"1479000\n",
                cpu % (10, "scaling_governor"): b"performance\n",
                cpu % (10, "scaling_cur_freq"): b"<unknown>\n",
                zone % (0, "type"): b"CPU-therm\n",
                zone % (0, "temp"): b"45500\n",
                zone % (1, "type"): b"CPU-therm\n",
                zone % (1, "temp"): b"-256000\n",
                zone % (2, "type"): b"GPU-therm\n",
            }
        )
    )
    assert found == {
        "loadavg": [0.52, 0.58, 0.59],
        "memory_available_bytes": 1024_000,
        "governors": {"cpu0": "schedutil", "cpu10": "performance"},
        "cpu_freq_khz": {"cpu0": 1479000, "cpu10": None},
        "temperatures_c": {
            "thermal_zone0 CPU-therm": 45.5,
            "thermal_zone1 CPU-therm": None,
            "thermal_zone2 GPU-therm": None,
        },
    }


def test_conditions_of_a_board_that_tells_nothing_are_none(root):
    assert set(conditions.read_conditions(root({})).values()) == {None}


def test_peak_memory_rises_with_use_and_can_be_reset():
    block = bytearray(64 * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    before = memory.peak_rss_bytes()
    del block
    assert before > 64 * 1024 * 1024
    if memory.reset_peak_rss():
        assert memory.peak_rss_bytes() < before
