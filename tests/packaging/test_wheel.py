"""The wheel, installed where neither the checkout nor torch is, does what a workstation needs first."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "host", "device_agent", "profiles")
# 5 GB that `devices` and `measure` must not need: without them, an import of torch fails the test.
TORCH_FAMILY = {"torch", "torchvision"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources alone."""
    tree = tmp_path_factory.mktemp("sources")
    for name in PARTS:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tree / name)
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    folder = tmp_path_factory.mktemp("dist")
    checked([sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(folder), str(tree)], os.environ)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A clean virtual environment with the wheel and what it requires, torch's family left out."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    required = [own for own in requirements(wheel) if own.name not in TORCH_FAMILY]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    checked([*pip, "--no-deps", str(wheel)], os.environ)
    checked([*pip, *map(str, required)], os.environ)
    return folder / "bin"


@pytest.fixture
def command(installed, tmp_path):
    """Run a script of the installed wheel, from another folder and with nothing of this environment's."""
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}

    def run(name, *arguments):
        return checked([str(installed / name), *arguments], clean, cwd=tmp_path)

    return run


def checked(argv, env, cwd=None):
    """Run to a good end and return stdout; otherwise fail with what it said."""
    ended = subprocess.run(argv, env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, f"{argv[:4]} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def requirements(wheel):
    """Return what the wheel's own metadata requires without any extra."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [own for own in archive.namelist() if own.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    lines = [line.split(": ", 1)[1] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    return [own for own in map(Requirement, lines) if own.marker is None or own.marker.evaluate({"extra": ""})]


def write_onnx(path):
    """Write a network of one convolution: (1, 3, 8, 8) -> (1, 4, 8, 8)."""
    weights = np.ones((4, 3, 1, 1), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)


def test_everything_that_is_read_at_run_time_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = {"scbp_host": CHECKOUT / "host", "scbp_agent": CHECKOUT / "device_agent"}
    for package, root in packages.items():
        sources = [own for own in (root / package).rglob("*") if own.is_file() and "__pycache__" not in own.parts]
        assert {own.relative_to(root).as_posix() for own in sources} <= names
    assert {f"scbp_host/_profiles/{own.name}" for own in (CHECKOUT / "profiles").glob("*.toml")} <= names
    assert any(name.startswith("scbp_host/store/migrations/versions/v0001") for name in names)
    assert any(name.startswith("scbp_host/report/") and not name.endswith(".py") for name in names), "no template"
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


def test_the_wheel_declares_what_it_needs(wheel):
    names = {own.name for own in requirements(wheel)}
    assert names >= TORCH_FAMILY | {"onnx", "onnxruntime", "paramiko", "sqlalchemy", "pydantic", "typer"}
    assert not names & {"pytest", "ruff", "tensorrt", "pycuda"}


def test_the_profiles_are_found(command):
    listed = json.loads(command("scbp-host", "devices", "list", "--json"))
    assert {own["name"] for own in listed} == {own.stem for own in (CHECKOUT / "profiles").glob("*.toml")}
    assert all("site-packages" in own["source"] for own in listed)


def test_a_model_is_measured(command, tmp_path):
    write_onnx(tmp_path / "tiny.onnx")
    measured = json.loads(command("scbp-host", "measure", "tiny.onnx", "--json"))
    assert measured["device"] == "local"
    assert 0 < measured["latency_p50_ms"] <= measured["latency_p99_ms"] <= measured["latency_max_ms"]
    low, high = measured["latency_ratio_ci95"]
    assert low <= measured["latency_ratio"] <= high
    assert measured["peak_memory_mb"] > 1


def test_the_agent_and_the_host_tell_the_distributions_version(command):
    version = importlib.metadata.version("scbp")
    assert command("scbp-agent", "--version").split()[-1] == version
    assert command("scbp-host", "--version").split() == ["scbp", version]
