"""Verbs that train nothing must not make their user wait for torch."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "torch_pruning")
REPORTING = ("matplotlib", "sqlalchemy", "sklearn", "paramiko")
SCRIPT = """
import sys
from scbp_host.cli.main import run_command
code = run_command(sys.argv[2:])
loaded = [name for name in sys.argv[1].split(",") if name in sys.modules]
sys.exit(f"loaded {loaded}" if loaded else code)
"""


def run(forbidden, arguments, cwd):
    command = [sys.executable, "-c", SCRIPT, ",".join(forbidden), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "code", "forbidden"),
    [
        (("devices", "list"), 0, HEAVY + REPORTING),
        (("run", "--ratios", "0"), 2, HEAVY + REPORTING),
        (("rank", "--out", "absent"), 2, HEAVY),
    ],
    ids=lambda own: " ".join(own) if isinstance(own, tuple) else str(own),
)
def test_a_quick_answer_imports_no_slow_library(arguments, code, forbidden, tmp_path):
    ended = run(forbidden, arguments, tmp_path)
    assert ended.returncode == code, ended.stderr


def test_measuring_a_model_does_not_import_torch(tmp_path, make_onnx, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "small.onnx").write_bytes(make_onnx())
    ended = run(HEAVY + REPORTING, ("measure", "small.onnx", "--json"), tmp_path)
    assert ended.returncode == 0, ended.stderr
