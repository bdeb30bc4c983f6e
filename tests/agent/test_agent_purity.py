"""The agent must start on a board that has nothing but Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "device_agent" / "scbp_agent"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_imports_the_standard_library_and_the_agent_only(path):
    allowed = sys.stdlib_module_names | {"scbp_agent"}
    names = [name for node in ast.walk(ast.parse(path.read_text())) for name in imported_names(node)]
    assert {name.split(".")[0] for name in names} <= allowed


def test_agent_starts_without_site_packages(agent_pyz, tmp_path):
    command = [sys.executable, "-I", "-S", str(agent_pyz), "--version"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("scbp-agent ")
