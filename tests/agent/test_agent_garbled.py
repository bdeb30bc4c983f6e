"""A sensor that is cut off, garbled or mad is None and named: never an exception, never a figure that is none."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scbp_agent import conditions, identity, memory, power, raspberry, tegrastats, wire
from scbp_agent.probing import Source, believable_float, believable_int

BOARDS = sorted((Path(__file__).parents[1] / "data" / "boards").glob("*.toml"))
RECORDED = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in BOARDS}
PMIC = RECORDED["raspberry-pi-5"]["programs"]["/usr/bin/vcgencmd"]["pmic_read_adc"]
# Real lines of JetPack 4, 6 and 7; test_agent_board.py says what they mean.
TEGRASTATS = [
    "RAM 1923/3964MB (lfb 2x2MB) CPU [5%@1224,4%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C CPU@40C"
    " POM_5V_IN 1750/1628 POM_5V_GPU 0/0",
    "11-15-2024 08:38:09 RAM 6185/7620MB (lfb 8x2MB) CPU [15%@729,off] EMC_FREQ 43%@2133 GR3D_FREQ 63%@[621] NVDEC off"
    " cpu@53.968C tj@-256C VDD_IN 12479mW/12479mW VDD_SOC 2817mW/2817mW",
    "RAM 2850/7486MB CPU [2%@729] GR3D_FREQ @[314,314,314] tj@45.812C/45.812C VIN 3582mW/3582mW/3582mW",
]
PARSERS = {
    tegrastats.parse: TEGRASTATS,
    raspberry.throttle_flags: ["throttled=0x50005", "throttled=0x0"],
    raspberry.rails_w: [PMIC],
    believable_int: ["42", "-256000", "1480000"],
    believable_float: ["0.52", "1e3"],
}


@st.composite
def garbled(draw, texts):
    """One of the texts with pieces taken out, doubled or replaced by anything."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        filling = draw(st.one_of(st.text(max_size=6), st.text("0123456789", min_size=1, max_size=400)))
        text = text[:start] + filling + text[end:]
    return text


def assert_plain(reading):
    """What a reading may hold: it crosses the wire as JSON, in which no number is infinite."""
    assert json.loads(wire.encode({"reading": reading}).decode()) == {"reading": reading}


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(data=st.data())
def test_garbled_text_is_a_value_error_or_a_plain_reading(parse, data):
    text = data.draw(garbled(PARSERS[parse]))
    try:
        assert_plain(parse(text))
    except ValueError:
        return


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_text_cut_off_at_any_byte_is_a_value_error_or_a_plain_reading(parse):
    for text in PARSERS[parse]:
        for length in range(len(text)):
            try:
                assert_plain(parse(text[:length]))
            except ValueError:
                continue


@pytest.mark.parametrize("text", ["1e999", "nan", "inf", "9" * 400, "-1e300"])
def test_a_number_that_no_board_can_mean_is_none_and_named(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text(f"{text} 0.1 0.1 1/1 1\n")
    found = conditions.read_conditions(str(tmp_path))
    assert found["loadavg"] is None
    assert found["unreadable"][0].startswith("loadavg: ")
    assert_plain(found)


def test_a_sensor_beyond_belief_is_none_and_named(make_board, tmp_path):
    root = make_board("jetson-orin-nano")
    rail = tmp_path / "jetson-orin-nano/sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input"
    rail.write_text("9" * 400)
    found = conditions.sample(root)
    assert "VDD_IN" not in found["power"]["rails_w"]
    assert found["power"]["total_w"] is None, "a total without its rail is none"
    assert [note.partition(":")[0] for note in found["unreadable"]] == [str(rail)[len(root) :]]


def test_a_power_mode_that_makes_no_sense_is_none_and_named(make_board, tmp_path):
    root = make_board("jetson-orin-nano")
    (tmp_path / "jetson-orin-nano/var/lib/nvpmodel/status").write_text("pmode:full")
    source = Source(root)
    assert conditions.power_mode(source) is None
    assert source.unreadable == ["nvpmodel status: 'pmode:full'"]


def test_a_pmic_that_is_not_there_is_no_fault(make_board, tmp_path):
    root = make_board("raspberry-pi-5")
    program = tmp_path / "raspberry-pi-5/usr/bin/vcgencmd"
    program.write_text("#!/bin/sh\necho 'error=1 error_msg=\"Command not registered\"'\n")
    source = Source(root)
    assert raspberry.pmic_rails_w(source) == {}
    assert source.unreadable == []


def read_everything(root):
    """Read all that the agent knows how to read of a board, and check that it can be sent."""
    source = Source(root)
    assert_plain(conditions.read_conditions(root))
    assert_plain(conditions.sample(root))
    assert_plain(power.read_power(source))
    assert_plain([memory.total_bytes(root), memory.available_bytes(root), conditions.power_modes(source) != {}])
    assert_plain([identity.board(source), identity.compatible(source), identity.os_release(source)])
    assert_plain([identity.l4t(source), identity.jetpack(source), identity.precisions(source)])


def without_programs(root, name):
    for program in RECORDED[name].get("programs", {}):
        Path(root + program).unlink()


@pytest.mark.parametrize("name", RECORDED)
def test_a_board_whose_files_are_cut_off_at_any_byte_is_read(make_board, name):
    root = make_board(name)
    # The programs' words have their own tests; to start them for every byte would take minutes.
    without_programs(root, name)
    for path, text in RECORDED[name]["files"].items():
        content = text.encode()
        for length in range(min(len(content), 64)):
            Path(root + path).write_bytes(content[:length])
            read_everything(root)
        Path(root + path).write_bytes(content)


@pytest.mark.parametrize("name", RECORDED)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@example(data=None)
def test_a_board_with_a_mad_file_is_read(make_board, name, data):
    root = make_board(name)
    without_programs(root, name)
    if data is not None:
        files = RECORDED[name]["files"]
        path = data.draw(st.sampled_from(sorted(files)))
        text = garbled([files[path][:200]]).map(lambda own: own.encode("utf-8", "replace"))
        Path(root + path).write_bytes(data.draw(st.one_of(st.binary(max_size=64), text)))
    read_everything(root)


@pytest.mark.parametrize(
    ("name", "program"), [("jetson-nano", "/usr/bin/tegrastats"), ("raspberry-pi-5", "/usr/bin/vcgencmd")]
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
def test_a_board_whose_program_talks_nonsense_is_read(make_board, name, program, noise):
    root = make_board(name)
    Path(root + program).write_text('#!/bin/sh\nexec cat "$0.noise"\n')
    Path(root + program + ".noise").write_bytes(noise)
    found = conditions.read_conditions(root)
    assert_plain(found)
    readings = [found["power"]] if name == "raspberry-pi-5" else []
    assert all(own is None or all(map(math.isfinite, own["rails_w"].values())) for own in readings)
