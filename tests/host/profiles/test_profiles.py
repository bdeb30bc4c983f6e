"""Profiles: facts with sources, the user's own files, and what is said of a broken one."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
from pathlib import Path

import pytest

from scbp_host import profiles
from scbp_host.domain.device import SshAddress
from scbp_host.errors import EXIT_USAGE, ConfigError, UnknownNameError
from scbp_host.profiles import list_profiles, load_profile, propose_profile, require_address

BUILT_IN = (
    "jetson-agx-orin",
    "jetson-agx-thor",
    "jetson-agx-xavier",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nano-super",
    "jetson-orin-nx",
    "jetson-tx2",
    "jetson-xavier-nx",
    "local",
    "raspberry-pi-3b-plus",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
)
FOLDER = Path(__file__).parents[3] / "profiles"

ADDRESS = """
[ssh]
host = "nano.local"
user = "me"
key = "keys/id"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
"""


@pytest.fixture(autouse=True)
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own profiles, in a configuration folder of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "scbp" / "devices"
    folder.mkdir(parents=True)
    return folder


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_built_in_profiles_are_listed_by_name() -> None:
    assert tuple(profile.name for profile in list_profiles()) == BUILT_IN


def test_what_the_boards_need_to_be_exported_for() -> None:
    nano, pi = load_profile("jetson-nano"), load_profile("raspberry-pi-4")
    assert (nano.runtime, nano.transport, nano.opset, nano.ir_version, nano.python) == (
        "tensorrt",
        "ssh",
        13,
        7,
        "python3",
    )
    assert (pi.runtime, pi.transport, pi.opset, pi.threads) == ("onnxruntime", "ssh", 13, 4)
    assert nano.workdir == pi.workdir == ".scbp"


def test_local_runs_this_python_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    local = load_profile("local")
    assert (local.python, local.workdir, local.threads) == (sys.executable, "/somewhere/scbp/agent", 1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_fact_has_its_source(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    facts = [line for line in lines if line.strip() and not line.startswith(("#", "[", "title", "transport"))]
    if name == "local":
        facts = [line for line in facts if not line.startswith("runtime")]
    assert facts
    for line in facts:
        _, _, comment = line.partition("#")
        assert "[" in comment or "our choice" in comment, line


def test_a_users_file_extends_a_built_in_one_of_its_own_name(devices: Path) -> None:
    path = write(devices / "jetson-nano.toml", 'extends = "jetson-nano"\nworkdir = "/data/scbp"\n' + ADDRESS)
    profile = load_profile("jetson-nano")
    assert (profile.runtime, profile.workdir, str(profile.source)) == ("tensorrt", "/data/scbp", path)
    assert profile.ssh == SshAddress(
        "nano.local", "me", devices / "keys" / "id", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", 22, False
    )
    assert require_address(profile) is profile.ssh


def test_a_users_file_of_another_name_is_a_device_of_its_own(devices: Path) -> None:
    write(devices / "robot-7.toml", 'extends = "raspberry-pi-4"\ntitle = "Robot 7"\n' + ADDRESS)
    assert load_profile("robot-7").title == "Robot 7"
    assert tuple(profile.name for profile in list_profiles()) == (*BUILT_IN, "robot-7")


def test_the_runtimes_settings_are_the_profiles(tmp_path: Path) -> None:
    text = 'extends = "local"\n[runtime_settings]\nspin = false\nlimit = 7\nproviders = ["A", "B"]\n'
    assert load_profile(write(tmp_path / "own.toml", text)).runtime_settings == {
        "spin": False,
        "limit": 7,
        "providers": ["A", "B"],
    }


def test_what_onnxruntime_is_told_stands_in_the_profiles_that_run_it() -> None:
    told = {"providers": ["CPUExecutionProvider"], "graph_optimization": "all", "allow_spinning": False}
    those = [profile for profile in map(load_profile, BUILT_IN) if profile.runtime == "onnxruntime"]
    assert len(those) == 5, "four Raspberry Pis and this machine"
    for profile in those:
        assert profile.runtime_settings == told, profile.name


def test_settings_of_one_runtime_are_not_inherited_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (FOLDER / "local.toml").read_text(encoding="utf-8")
    base = text.partition("[runtime_settings]")[0] + "[runtime_settings]\nspin = false\n"
    write(tmp_path / "base.toml", base)
    monkeypatch.setattr(profiles, "_builtin_folder", lambda: tmp_path)
    same = load_profile(write(tmp_path / "same.toml", 'extends = "base"\nthreads = 2\n'))
    other = load_profile(write(tmp_path / "other.toml", 'extends = "base"\nruntime = "ncnn"\n'))
    assert (same.runtime_settings, other.runtime_settings) == ({"spin": False}, {})


def test_what_is_known_of_a_boards_hardware() -> None:
    nano, pi = load_profile("jetson-nano"), load_profile("raspberry-pi-5")
    assert nano.hardware.precisions == ("fp32", "fp16"), "a Nano has no INT8"
    assert nano.hardware.compute_capability == "5.3"
    assert nano.reference_latency_ms["ResNet-18, TensorRT FP16"] == 11.4
    assert pi.hardware.peak_fp32_gflops is None, "no source, no figure"
    assert load_profile("jetson-agx-orin").hardware.power_rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")


SUPER = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


@pytest.mark.parametrize(
    ("board", "compatible", "name"),
    [
        ("NVIDIA Jetson Nano Developer Kit", ["nvidia,p3450-0000"], "jetson-nano"),
        ("NVIDIA Jetson Nano 2GB Developer Kit", ["nvidia,p3542-0000"], None),
        ("quill", [], "jetson-tx2"),
        ("lanai-3636", [], None),
        ("NVIDIA Jetson Xavier NX Developer Kit", [], "jetson-xavier-nx"),
        ("Jetson-AGX", [], "jetson-agx-xavier"),
        ("NVIDIA Jetson Orin Nano Developer Kit", ["nvidia,p3767-0005", "nvidia,tegra234"], "jetson-orin-nano"),
        (SUPER, ["nvidia,p3767-0005", "nvidia,tegra234"], "jetson-orin-nano-super"),
        ("NVIDIA Orin NX Developer Kit", ["nvidia,p3767-0000", "nvidia,tegra234"], "jetson-orin-nx"),
        ("A carrier of our own", ["acme,robot", "nvidia,p3767-0003", "nvidia,tegra234"], "jetson-orin-nano"),
        ("Jetson AGX Orin", [], "jetson-agx-orin"),
        ("NVIDIA Jetson AGX Orin Developer Kit", [], "jetson-agx-orin"),
        ("NVIDIA Jetson AGX Thor Developer Kit", [], "jetson-agx-thor"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", [], "raspberry-pi-3b-plus"),
        ("Raspberry Pi Zero 2 W Rev 1.0", [], "raspberry-pi-zero-2w"),
        ("Raspberry Pi 4 Model B Rev 1.4", [], "raspberry-pi-4"),
        ("Raspberry Pi 5 Model B Rev 1.0", [], "raspberry-pi-5"),
        ("Raspberry Pi Zero W Rev 1.1", [], None),
        ("Example CPU (x86_64)", [], None),
    ],
)
def test_the_profile_follows_from_what_the_board_says(board: str, compatible: list[str], name: str | None) -> None:
    proposed = propose_profile(board, compatible)
    assert (proposed.name if proposed else None) == name


def test_a_path_needs_no_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "lab.toml", 'extends = "raspberry-pi-4"\n' + ADDRESS.replace("keys/id", "~/.ssh/lab"))
    profile = load_profile(path)
    assert profile.name == "lab"
    assert profile.ssh is not None
    assert profile.ssh.key == Path.home() / ".ssh" / "lab"


def test_an_unknown_name_lists_the_known_and_the_nearest(devices: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_profile("jetson-nan")
    assert caught.value.message == (
        "no device 'jetson-nan' (did you mean 'jetson-nano'?); known: " + ", ".join(BUILT_IN)
    )
    assert caught.value.hint == "run: scbp-host devices list"
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title = ", "expected TOML"),
        ('extends = "local"\nthread = 2', "key 'thread': unknown; expected one of channel_step"),
        ('extends = "local"\nthreads = "two"', "key 'threads': expected to be a valid integer, got 'two'"),
        ('extends = "local"\nthreads = 0', "key 'threads': expected to be greater than or equal to 1, got 0"),
        ('extends = "local"\nthreads = true', "key 'threads': expected to be a valid integer, got True"),
        ('title = "x"', "key 'transport': missing"),
        ('extends = "loocal"', f"key 'extends': expected one of {', '.join(BUILT_IN)}, got 'loocal'"),
        ('extends = "local"\n[ssh]\nhost = "h"\nuser = "u"\nport = 0', "key 'ssh.port': expected to be greater"),
        (
            'extends = "local"\n[ssh]\nhost = "h"\nuser = "u"\npassword = "p"',
            "key 'ssh.password': unknown; expected one",
        ),
        ('extends = "local"\n[ssh]\nhost = "h"', "key 'ssh.user': missing"),
        (
            'extends = "local"\n[ssh]\nhost = "h"\nuser = "u"\nhost_key = "AAAA"',
            "key 'ssh.host_key': expected a public",
        ),
        ('extends = "local"\nssh = 3', "key 'ssh': expected"),
        ('extends = "local"\n[hardware]\nram = 4', "key 'hardware.ram': unknown; expected one of bandwidth_gb_s"),
        ('extends = "local"\n[hardware]\nmemory_gb = 0', "key 'hardware.memory_gb': expected to be greater"),
        ('extends = "local"\n[reference_latency_ms]\nx = -1.0', "key 'reference_latency_ms.x': expected to be greater"),
    ],
)
def test_a_broken_file_is_named_with_the_key_and_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "broken.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert caught.value.message.startswith(f"{path}: {expected}")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == EXIT_USAGE


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_profile(str(tmp_path / "none.toml"))


def test_a_missing_address_names_the_file_and_its_template_works(devices: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        require_address(load_profile("jetson-nano"))
    path = devices / "jetson-nano.toml"
    assert str(path) in caught.value.message
    assert caught.value.exit_code == EXIT_USAGE
    template = "\n".join(line[4:] for line in caught.value.hint.splitlines() if line.startswith("    "))
    assert tomllib.loads(template)["extends"] == "jetson-nano"
    path.write_text(template.replace("AAAA...", "AAAAC3Nz"), encoding="utf-8")
    assert require_address(load_profile("jetson-nano")).host == "jetson-nano.local"


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_profile("local").threads = 4  # type: ignore[misc]
