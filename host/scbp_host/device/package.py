"""The agent as one file: a zipapp of scbp_agent's sources that tells nothing of where it was built.

The same sources give the same bytes with the same zlib; with another, another file of another name, which is as good.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b"from scbp_agent.__main__ import main\n\nmain()\n"
# The earliest time a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


@dataclass(frozen=True)
class AgentPackage:
    """The zipapp.

    Attributes:
        content: its bytes.
        sha256: their hash, which the running agent reports as well.
        name: its file name, which holds the hash: another agent is another file, so versions cannot drift.
    """

    content: bytes
    sha256: str
    name: str


def build_agent() -> AgentPackage:
    """Return the agent of this release; the sources are read, never imported, and go without their prose."""
    content = _SHEBANG + _archive(_sources())
    sha256 = hashlib.sha256(content).hexdigest()
    return AgentPackage(content, sha256, f"scbp-agent-{sha256[:12]}.pyz")


def _sources() -> dict[str, bytes]:
    spec = importlib.util.find_spec("scbp_agent")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    modules = {
        f"scbp_agent/{path.relative_to(folder).as_posix()}": path.read_text("utf-8") for path in folder.rglob("*.py")
    }
    return {"__main__.py": _MAIN, **{name: _without_prose(text).encode() for name, text in modules.items()}}


def _without_prose(source: str) -> str:
    """Blank comments and docstrings, a fifth of the file; each line keeps its number, for tracebacks."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for docstring in _docstrings(ast.parse(source)):
        assert docstring.end_lineno is not None
        # A body that is nothing but its docstring needs a statement.
        lines[docstring.lineno - 1] = " " * docstring.col_offset + "0"
        lines[docstring.lineno : docstring.end_lineno] = [""] * (docstring.end_lineno - docstring.lineno)
    return "\n".join(lines) + "\n"


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            (first, *_) = node.body
            assert isinstance(first, ast.Expr)
            yield first.value


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            # Both would otherwise tell where the archive was made.
            entry.create_system, entry.external_attr = _UNIX, 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()
