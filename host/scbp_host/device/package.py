"""The agent as one file: a zipapp of scbp_agent's sources that is the same, byte for byte, wherever it is built."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
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
    """Return the agent of this release; the sources are read, never imported."""
    content = _SHEBANG + _archive(_sources())
    sha256 = hashlib.sha256(content).hexdigest()
    return AgentPackage(content, sha256, f"scbp-agent-{sha256[:12]}.pyz")


def _sources() -> dict[str, bytes]:
    spec = importlib.util.find_spec("scbp_agent")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    modules = {f"scbp_agent/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in folder.rglob("*.py")}
    return {"__main__.py": _MAIN, **modules}


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            # Both would otherwise tell where the archive was made, and a compressed one which zlib made it.
            entry.create_system, entry.external_attr = _UNIX, 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_STORED)
    return buffer.getvalue()
