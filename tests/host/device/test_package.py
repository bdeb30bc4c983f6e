"""The agent's zipapp: the same bytes in every place where it is built."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scbp_host.device.package import build_agent

PROGRAM = "from scbp_host.device.package import build_agent; print(build_agent().sha256)"


def path_with(folder: Path) -> str:
    """Another agent before this checkout's host: an installed scbp may be another one."""
    spec = importlib.util.find_spec("scbp_host")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return os.pathsep.join([str(folder), str(Path(spec.submodule_search_locations[0]).parent)])


def sources() -> Path:
    spec = importlib.util.find_spec("scbp_agent")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def test_it_is_named_by_its_content() -> None:
    agent = build_agent()
    assert agent.sha256 == hashlib.sha256(agent.content).hexdigest()
    assert agent.name == f"scbp-agent-{agent.sha256[:12]}.pyz"
    assert agent == build_agent()


def test_another_place_time_and_umask_give_the_same_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "scbp_agent"
    shutil.copytree(sources(), copy)
    for path in copy.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
        path.chmod(0o777)
    (copy / "notes.txt").write_text("not a source", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": path_with(copy.parent), "TZ": "Asia/Tokyo"}
    built = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    assert built.stdout.strip() == build_agent().sha256


def test_another_source_gives_another_name(tmp_path: Path) -> None:
    copy = tmp_path / "scbp_agent"
    shutil.copytree(sources(), copy)
    (copy / "wire.py").write_text("# changed\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": path_with(tmp_path)}
    built = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    assert built.stdout.strip() != build_agent().sha256


def test_it_holds_every_module_and_no_more() -> None:
    expected = {f"scbp_agent/{path.relative_to(sources()).as_posix()}" for path in sources().rglob("*.py")}
    with zipfile.ZipFile(io.BytesIO(build_agent().content)) as archive:
        assert set(archive.namelist()) == expected | {"__main__.py"}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def statements(source: str) -> list[str]:
    """Every statement with its line, but for expressions that are constants: docstrings, and what stands for them."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    kept = [node for node in nodes if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return [f"{node.lineno}: {type(node).__name__} {header(node)}" for node in kept]


def header(node: ast.stmt) -> str:
    """The statement without the statements within."""
    parts = [own for own in ast.iter_child_nodes(node) if not isinstance(own, ast.stmt)]
    return " ".join(ast.dump(own) for own in parts if not isinstance(own, ast.ExceptHandler))


def test_it_does_what_its_sources_do_line_by_line_without_their_prose() -> None:
    with zipfile.ZipFile(io.BytesIO(build_agent().content)) as archive:
        for path in sources().rglob("*.py"):
            packed = archive.read(f"scbp_agent/{path.relative_to(sources()).as_posix()}").decode()
            assert statements(packed) == statements(path.read_text("utf-8"))
            assert '"""' not in packed or "__doc__" in packed
            assert not [line for line in packed.splitlines() if line.lstrip().startswith("#")]


def test_it_is_small_enough_for_a_slow_link() -> None:
    assert len(build_agent().content) < 100_000


def test_building_it_imports_none_of_it() -> None:
    program = PROGRAM + "\nimport sys; sys.exit(any(name.startswith('scbp_agent') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


def test_it_runs(tmp_path: Path, device_python: Path) -> None:
    path = tmp_path / "agent.pyz"
    path.write_bytes(build_agent().content)
    shown = subprocess.run([device_python, path, "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout.startswith("scbp-agent ")
