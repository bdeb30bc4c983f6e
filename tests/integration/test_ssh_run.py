"""The same command over a real sshd, on a Python that has onnxruntime and numpy and nothing of the host's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

FLAGS = {
    "--model": "tiny_seed:factory",
    "--input-shape": "1x16x16",
    "--ratios": "1,0.5",
    "--measure": "2",
    "--train": "1",
    "--rounds": "1",
    "--seed-epochs": "2",
    "--epochs": "1",
    "--max-accuracy-drop": "100",
}


def test_run_over_ssh(
    write_profile: Callable[..., Path],
    scbp_host: Callable[..., subprocess.CompletedProcess[str]],
    device_python: Path,
    tmp_path: Path,
) -> None:
    profile = write_profile()
    flags = [part for pair in FLAGS.items() for part in pair]
    done = scbp_host("run", "--device", str(profile), *flags, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["device"]["transport"] == "ssh"
    assert summary["device"]["name"] == "board"
    assert summary["best"]["test_top1"] > 0
    # The agent came over the wire, named by the hash of its content, and is what answered.
    (agent,) = (tmp_path / "board" / "agents").glob("scbp-agent-*.pyz")
    assert agent.stem.removeprefix("scbp-agent-") == summary["device"]["agent_sha256"][:12]
    assert summary["bytes_shipped"] > agent.stat().st_size
    host_import = subprocess.run([device_python, "-c", "import scbp_host"], check=False, capture_output=True)
    assert host_import.returncode != 0, "the device's python must not see the host's code"

    ranked = scbp_host("rank", "--max-accuracy-drop", "100", "--json")
    assert ranked.returncode == 0, ranked.stderr
    assert json.loads(ranked.stdout)["best"]["id"] == summary["best"]["id"]
    impossible = scbp_host("rank", "--latency-budget", "1us", "--json")
    assert impossible.returncode == 4
    assert "nearest miss: latency" in impossible.stderr
    assert scbp_host("report").returncode == 0
