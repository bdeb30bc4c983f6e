"""Files that people write: TOML, read with errors that name the file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from scbp_host.errors import ConfigError


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """Read a file.

    Args:
        path: of the file.
        hint: what to try where it cannot be read.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint) from error
    except ValueError as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from error
