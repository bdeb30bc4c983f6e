"""A whole run on arm64: the real agent and the aarch64 wheels behind a real sshd, on an emulated processor.

`make test-arm64` builds the userland and runs this; `make test` does not. RECORD names a file for what ran where.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scbp_host.device.client import open_device
from scbp_host.domain.device import DeviceProfile
from scbp_host.profiles import load_profile

HERE = Path(__file__).parent
# The folder of a network that takes a second.
SEEDS = HERE.parent / "integration"
# Where make_rootfs.sh has put the userland.
FOLDER = Path(os.environ.get("VIRTUAL_DEVICE", ".virtual-device")).resolve()
START_S = 60.0

FLAGS = {
    "--model": "tiny_seed:factory",
    "--data": "digits",
    "--input-shape": "1x16x16",
    "--ratios": "1,0.5",
    "--measure": "2",
    "--train": "1",
    "--rounds": "1",
    "--seed-epochs": "1",
    "--epochs": "1",
    "--max-accuracy-drop": "100",
}

PROFILE = """\
extends = "local"
title = "Virtual arm64 device"
transport = "ssh"
python = "python3"
workdir = ".scbp"
# Loading onnxruntime takes seconds here, on a busy machine tens of seconds.
timeout_scale = 10.0

[ssh]
host = "127.0.0.1"
port = {port}
user = "pi"
key = "{folder}/id_ed25519"
host_key = "{host_key}"
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceProfile]:
    """The device, started for these tests and thrown away after them."""
    port = free_port()
    path = tmp_path_factory.mktemp("device") / "arm64.toml"
    key = (FOLDER / "rootfs/etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8")
    text = PROFILE.format(port=port, folder=FOLDER, host_key=" ".join(key.split()[:2]))
    path.write_text(text, encoding="utf-8")
    log = path.with_name("device.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [HERE / "device.sh", FOLDER, str(port)], stdout=output, stderr=output, start_new_session=True
        ) as device,
    ):
        wait_for_greeting(device, port, log)
        yield load_profile(str(path))
        # Its process 1 dies with it, and with that everything in the namespaces.
        device.kill()


def test_the_board_is_arm64_and_says_that_it_is_emulated(profile: DeviceProfile) -> None:
    with open_device(profile) as client:
        facts = client.info.facts
        assert facts["machine"] == "aarch64"
        assert facts["emulated"] == "qemu-user, cortex-a72"
        assert set(facts["runtimes"]) == {"onnxruntime"}
        assert any("every time is the emulator's, no board's" in warning for warning in client.warnings)
        assert client.reserve("test").purpose == "test"


def test_a_whole_run_labels_every_time_as_emulated(profile: DeviceProfile, tmp_path: Path) -> None:
    flags = [part for pair in FLAGS.items() for part in pair]
    started_s = time.monotonic()
    program = [sys.executable, "-c", "from scbp_host.cli.main import main; main()"]
    command = [*program, "run", "--device", str(profile.source), *flags, "--out", str(tmp_path / "runs"), "--json"]
    # From where the seed's module lies.
    done = subprocess.run(command, cwd=SEEDS, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["device"]["facts"]["machine"] == "aarch64"
    assert summary["device"]["emulated"] == "qemu-user, cortex-a72"
    assert any("every time is the emulator's" in warning for warning in summary["warnings"])
    assert "is emulated" in done.stderr
    (report,) = (tmp_path / "runs").glob("*/report.html")
    assert " ms emulated" in report.read_text(encoding="utf-8")
    assert [own["failure"] for own in summary["candidates"] if own["failure"]] == []
    record(summary, time.monotonic() - started_s)


def record(summary: dict[str, Any], run_s: float) -> None:
    """Keep what ran where; of the emulator's times none."""
    if "RECORD" not in os.environ:
        return
    device = summary["device"]
    kept = {name: device[name] for name in ("os_release", "python", "runtime", "runtime_version", "emulated")}
    found = {
        "device": {**kept, "machine": device["facts"]["machine"]},
        "host": {"machine": platform.machine(), "cpu_count": os.cpu_count()},
        "flags": FLAGS,
        "candidates": len(summary["candidates"]),
        "measured": sum(own["latency_p50_ms"] is not None for own in summary["candidates"]),
        "run_s": round(run_s, 1),
    }
    Path(os.environ["RECORD"]).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_greeting(device: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and device.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_S) as connection:
                if connection.recv(8).startswith(b"SSH-2.0"):
                    return
        except ConnectionRefusedError:
            time.sleep(0.1)
    pytest.fail(f"the device does not start: {log.read_text(encoding='utf-8')}")
