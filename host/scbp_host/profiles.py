"""profiles/*.toml -> DeviceProfile, validated.

A profile is a path ending in ``.toml``, or a name: that of a file of the user's own in ``~/.config/scbp/devices/``, or
else of a built-in one. A user's file may say ``extends = "jetson-nano"`` and then states only what differs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from scbp_host.domain.device import ClockSettings, DeviceProfile, Hardware, SshAddress
from scbp_host.errors import ConfigError, UnknownNameError
from scbp_host.toml_files import read_toml

_Text = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=1)]
_Figure = Annotated[float, Field(gt=0.0)]
_Value = bool | int | float | str

_ADDRESS_TEMPLATE = """\
write {path}:

    extends = "{name}"

    [ssh]
    host = "{name}.local"
    port = 22
    user = "me"
    key = "~/.ssh/id_ed25519"
    host_key = "ssh-ed25519 AAAA..."

host_key is what `ssh-keyscan -t ed25519 HOST` prints, without the host's name; compare its fingerprint (pipe it into
`ssh-keygen -lf -`) with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the board itself.
Then run: scbp-host devices probe {name}"""


class _Table(BaseModel):
    """A TOML table: unknown keys are refused, and no value is converted from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _SshTable(_Table):
    host: _Text
    user: _Text
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    key: _Text | None = None
    host_key: str = ""
    allow_agent: bool = False

    @field_validator("host_key")
    @classmethod
    def _looks_like_a_key(cls, value: str) -> str:
        if value and not re.fullmatch(r"(ssh|ecdsa)-\S+ [A-Za-z0-9+/]+={0,2}( .*)?", value):
            raise ValueError("expected a public key such as 'ssh-ed25519 AAAA...'")
        return value


class _HardwareTable(_Table):
    cpu: str = ""
    memory_gb: _Count | None = None
    compute_capability: str = ""
    bandwidth_gb_s: _Figure | None = None
    peak_fp32_gflops: _Figure | None = None
    peak_fp16_gflops: _Figure | None = None
    peak_int8_gops: _Figure | None = None
    precisions: list[_Text] = []
    power_modes: list[_Text] = []
    power_rails: list[_Text] = []


class _ClocksTable(_Table):
    power_mode: _Text | None = None
    jetson_clocks: bool = False
    governor: _Text | None = None


class _ProfileTable(_Table):
    title: _Text
    transport: _Text
    runtime: _Text
    channel_step: _Count
    opset: _Count
    ir_version: _Count
    threads: _Count = 1
    python: _Text | None = None
    workdir: _Text | None = None
    memory_limit_mb: _Count | None = None
    timeout_scale: _Figure = 1.0
    device_tree_model: str = ""
    compatible: list[_Text] = []
    hardware: _HardwareTable | None = None
    clocks: _ClocksTable | None = None
    reference_latency_ms: dict[str, _Figure] | None = None
    runtime_settings: dict[str, _Value | list[_Value]] | None = None
    ssh: _SshTable | None = None


def load_profile(name_or_path: str) -> DeviceProfile:
    """Return the profile of that name, or of that file.

    Args:
        name_or_path: a name as in ``scbp-host devices list``, or a path ending in ``.toml``.

    Raises:
        UnknownNameError: no profile has this name.
        ConfigError: the file cannot be read, or is wrong; names file, key and what was expected.
    """
    if name_or_path.endswith(".toml"):
        return _read_profile(Path(name_or_path).expanduser())
    known = _profile_files()
    if name_or_path not in known:
        raise UnknownNameError("device", name_or_path, known, "run: scbp-host devices list")
    return _read_profile(known[name_or_path])


def list_profiles() -> tuple[DeviceProfile, ...]:
    """Return the built-in profiles and the user's own, by name.

    Raises:
        ConfigError: one of the files is wrong.
    """
    return tuple(_read_profile(path) for _, path in sorted(_profile_files().items()))


def propose_profile(board: str, compatible: Sequence[str]) -> DeviceProfile | None:
    """Return the built-in profile that fits a board best, from what the board says of itself; None where none does.

    Args:
        board: the device tree's model.
        compatible: the device tree's ``compatible`` strings.
    """
    profiles = [_read_profile(path) for path in sorted(_builtin_folder().glob("*.toml"))]
    best = max(profiles, key=lambda profile: likeness(profile, board, compatible))
    return best if likeness(best, board, compatible) else None


def likeness(profile: DeviceProfile, board: str, compatible: Sequence[str]) -> int:
    """Return how surely a profile is this board's; 0 is not at all.

    The model says more than the module: in Super mode an Orin Nano has another model and the same module.
    """
    named = bool(profile.device_tree_model) and profile.device_tree_model in board
    return (1 + len(profile.device_tree_model) if named else 0) or int(bool(set(profile.compatible) & set(compatible)))


def require_address(profile: DeviceProfile) -> SshAddress:
    """Return where an SSH profile's board is.

    Raises:
        ConfigError: the profile names no address; the hint is the file to write.
    """
    if profile.ssh is not None:
        return profile.ssh
    path = user_profiles_folder() / f"{profile.name}.toml"
    raise ConfigError(
        f"device {profile.name!r} has no address: expected [ssh] in {path}",
        _ADDRESS_TEMPLATE.format(path=path, name=profile.name),
    )


def require_clocks(profile: DeviceProfile) -> None:
    """Check that the profile says how its board's clocks are held; raises ConfigError with what to write."""
    if profile.clocks == ClockSettings():
        raise ConfigError(
            f"device {profile.name!r}: --lock-clocks: expected [clocks] in {profile.source}",
            'write [clocks] with governor = "performance", or on a Jetson power_mode = "NAME" and jetson_clocks = true',
        )


def user_profiles_folder() -> Path:
    """Return the folder of the user's own profiles; it need not exist."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "scbp" / "devices"


def _builtin_folder() -> Path:
    # The wheel carries the profiles inside the package; an editable install reads the checkout's own.
    packaged = Path(__file__).parent / "_profiles"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "profiles"


def _profile_files() -> dict[str, Path]:
    """Return the file of every known name; a user's own file hides the built-in one of its name."""
    folders = (_builtin_folder(), user_profiles_folder())
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def _read_profile(path: Path) -> DeviceProfile:
    try:
        table = _ProfileTable.model_validate(_with_base(path, read_toml(path, "run: scbp-host devices list")))
    except ValidationError as error:
        raise _config_error(path, error) from error
    return _to_profile(path, table)


def _with_base(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Lay ``data`` over the built-in profile that its ``extends`` names, if it names one."""
    name = data.pop("extends", None)
    if name is None:
        return data
    builtin = {base.stem: base for base in _builtin_folder().glob("*.toml")}
    if name not in builtin:
        raise ConfigError(f"{path}: key 'extends': expected one of {', '.join(sorted(builtin))}, got {name!r}")
    base = _with_base(builtin[name], read_toml(builtin[name], "run: scbp-host devices list"))
    if data.get("runtime", base["runtime"]) != base["runtime"]:
        # They are that runtime's own words; another would refuse them.
        base.pop("runtime_settings", None)
    return base | data


def _to_profile(path: Path, table: _ProfileTable) -> DeviceProfile:
    local = table.transport == "local"
    return DeviceProfile(
        name=path.stem,
        title=table.title,
        transport=table.transport,
        runtime=table.runtime,
        channel_step=table.channel_step,
        opset=table.opset,
        ir_version=table.ir_version,
        threads=table.threads,
        python=table.python or (sys.executable if local else "python3"),
        workdir=table.workdir or (str(_cache_folder() / "agent") if local else ".scbp"),
        ssh=_to_address(path, table.ssh),
        source=path,
        timeout_scale=table.timeout_scale,
        memory_limit_bytes=None if table.memory_limit_mb is None else table.memory_limit_mb * 10**6,
        device_tree_model=table.device_tree_model,
        compatible=tuple(table.compatible),
        hardware=_to_hardware(table.hardware or _HardwareTable()),
        clocks=ClockSettings(**(table.clocks or _ClocksTable()).model_dump()),
        reference_latency_ms=table.reference_latency_ms or {},
        runtime_settings=table.runtime_settings or {},
    )


def _to_hardware(table: _HardwareTable) -> Hardware:
    return Hardware(
        cpu=table.cpu,
        memory_gb=table.memory_gb,
        compute_capability=table.compute_capability,
        bandwidth_gb_s=table.bandwidth_gb_s,
        peak_fp32_gflops=table.peak_fp32_gflops,
        peak_fp16_gflops=table.peak_fp16_gflops,
        peak_int8_gops=table.peak_int8_gops,
        precisions=tuple(table.precisions),
        power_modes=tuple(table.power_modes),
        power_rails=tuple(table.power_rails),
    )


def _to_address(path: Path, table: _SshTable | None) -> SshAddress | None:
    if table is None:
        return None
    # A relative key lies beside the profile that names it.
    key = path.parent / Path(table.key).expanduser() if table.key else None
    return SshAddress(table.host, table.user, key, table.host_key, table.port, table.allow_agent)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scbp"


def _config_error(path: Path, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        tables: dict[str, type[_Table]] = {"ssh": _SshTable, "hardware": _HardwareTable, "clocks": _ClocksTable}
        table = tables.get(str(first["loc"][0]), _ProfileTable)
        return ConfigError(f"{path}: key {key!r}: unknown; expected one of {', '.join(sorted(table.model_fields))}")
    if first["type"] == "missing":
        return ConfigError(f'{path}: key {key!r}: missing; expected a value, or extends = "NAME" at the top')
    expected = first["msg"].removeprefix("Value error, ").replace("Input should", "expected to")
    return ConfigError(f"{path}: key {key!r}: {expected}, got {first['input']!r}")
