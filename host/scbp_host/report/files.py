"""Reports on disk: a reader sees the old file or the whole new one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from scbp_host.errors import StoreError
from scbp_host.report.summary import SCHEMA_VERSION, Summary

_AGAIN = "write it again from the store: scbp-host report"


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by a file that is complete and on disk; raises StoreError where the folder takes none."""
    # The process id keeps two writers from sharing one temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot write ({error.strerror})", "check the folder and its free space") from error


def write_summary(summary: Summary, path: Path) -> None:
    """Write ``summary.json``; raises StoreError."""
    write_atomically(path, summary.to_json())


def read_summary(path: Path) -> Summary:
    """Read ``summary.json``; raises StoreError that names the file and the first key that is wrong."""
    try:
        content = path.read_bytes()
        version = json.loads(content)["schema_version"]
    except OSError as error:
        raise StoreError(f"{path}: cannot read the summary ({error.strerror})", _AGAIN) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: expected a summary, a JSON object with schema_version", _AGAIN) from error
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema_version {version!r}; this scbp reads {SCHEMA_VERSION}", _AGAIN)
    try:
        return Summary.from_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path}: {key}: {first['msg']}", _AGAIN) from error


def _sync_folder(folder: Path) -> None:
    # The rename itself is on disk only once the folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
