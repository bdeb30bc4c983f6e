"""scbp.toml and flags -> RunConfig, validated. A flag wins over the file, the file over the default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from scbp_host.config.schema import RunConfig
from scbp_host.errors import ConfigError, UsageError
from scbp_host.toml_files import read_toml

DEFAULT_FILE = Path("scbp.toml")


def load_config(path: Path | None, flags: Mapping[str, object]) -> RunConfig:
    """Merge file and flags.

    Args:
        path: a scbp.toml; None takes ``./scbp.toml`` where there is one.
        flags: what was given on the command line, by field name; None means not given.

    Raises:
        ConfigError: the file is wrong; names the file, the key and what was expected.
        UsageError: a flag is wrong.
    """
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    return _validated({} if path is None else read_toml(path, "give another with --config"), path, flags)


def config_of_flags(flags: Mapping[str, object]) -> RunConfig:
    """Read flags alone, whatever ``./scbp.toml`` says; raises UsageError where one is wrong."""
    return _validated({}, None, flags)


def _validated(from_file: Mapping[str, object], path: Path | None, flags: Mapping[str, object]) -> RunConfig:
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return RunConfig.model_validate({**from_file, **given})
    except ValidationError as error:
        raise _explain(error, path, given) from error


def _explain(error: ValidationError, path: Path | None, given: Mapping[str, object]) -> UsageError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        expected = f"unknown; expected one of {', '.join(RunConfig.model_fields)}"
    else:
        said = first["msg"].removeprefix("Value error, ").replace("Input should", "expected to")
        expected = f"{said}, got {first['input']!r}"
    if path is None or key in given:
        return UsageError(f"--{key.replace('_', '-')}: {expected}", "run: scbp-host run --help")
    return ConfigError(f"{path}: key {key!r}: {expected}", "docs/configuration.md lists every key")
