"""scbp-host devices: what boards there are, what is known of one, and what one says of itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from scbp_host.cli import lock, proposal
from scbp_host.cli.console import err, out, print_json, show_warning
from scbp_host.cli.flags import Device, Json
from scbp_host.domain.device import DeviceProfile
from scbp_host.errors import UsageError
from scbp_host.profiles import list_profiles, load_profile, propose_profile, user_profiles_folder

app = typer.Typer(help="Boards: list, show, probe, lock.", no_args_is_help=True)
app.command("lock")(lock.lock)


@app.command("list")
def list_devices(
    json: Json = False,
) -> None:
    """List the built-in profiles and your own."""
    profiles = list_profiles()
    if json:
        print_json([_facts(profile) for profile in profiles])
        return
    table = Table()
    for name in ("name", "board", "runtime", "transport", "address"):
        table.add_column(name)
    for profile in profiles:
        table.add_row(profile.name, profile.title, profile.runtime, profile.transport, _address(profile))
    out.print(table)


@app.command("show")
def show(
    device: Device,
    json: Json = False,
) -> None:
    """Show what a profile says of its board, from the file alone."""
    facts = _facts(load_profile(device))
    if json:
        print_json(facts)
        return
    facts |= {name: value for name, value in facts.pop("hardware").items() if value not in (None, "", ())}
    _print_facts(device, facts)


@app.command("probe")
def probe(
    device: Annotated[str, typer.Argument(help="Profile name, a PROFILE.toml, or USER@HOST[:PORT].")],
    key: Annotated[
        Path | None, typer.Option(help="USER@HOST: the private key's file; without it, a running ssh-agent's keys.")
    ] = None,
    host_key: Annotated[
        str, typer.Option(help="USER@HOST: the board's public host key; without it, the key is shown.")
    ] = "",
    python: Annotated[str | None, typer.Option(help="USER@HOST: the board's Python. [default: python3]")] = None,
    json: Json = False,
) -> None:
    """Connect to a board, start the agent there, show what it says of itself, and propose a profile."""
    from scbp_host.device.client import open_device

    addressed = proposal.is_address(device)
    if not addressed and (key or host_key or python):
        raise UsageError(f"{device}: --key, --host-key and --python go with USER@HOST", "a profile says them itself")
    profile = proposal.profile_at(device, key, host_key, python) if addressed else load_profile(device)
    with open_device(profile) as client:
        info, warnings = client.info, client.warnings
    proposed = propose_profile(info.board, info.compatible)
    facts = info.facts | {"profile": proposed.name if proposed else None}
    if addressed:
        facts["proposal"] = proposal.proposed_toml(profile, info)
    for warning in warnings:
        show_warning(warning)
    if json:
        print_json(facts)
        return
    toml = facts.pop("proposal", "")
    _print_facts(f"{profile.name}: {profile.title}", facts)
    if addressed:
        path = user_profiles_folder() / "NAME.toml"
        err.print(escape(f"write {path}, then run: scbp-host devices probe NAME"), soft_wrap=True)
        err.print(escape(f"\n{toml}"), soft_wrap=True)
    elif proposed is not None and proposed.name != profile.name:
        err.print(f'this is the board of the profile {proposed.name}: extends = "{proposed.name}" in yours')


def _print_facts(title: str, facts: dict[str, Any]) -> None:
    table = Table(title=escape(title), title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(escape(name), escape(_value(value)))
    out.print(table)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_value(own)}" for name, own in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(str(own) for own in value) or "none"
    return "unknown" if value is None else str(value)


def _address(profile: DeviceProfile) -> str:
    if profile.transport == "local":
        return "this machine"
    return f"{profile.ssh.user}@{profile.ssh.host}:{profile.ssh.port}" if profile.ssh else "not configured"


def _facts(profile: DeviceProfile) -> dict[str, Any]:
    return {name: str(value) if name == "source" else value for name, value in asdict(profile).items() if name != "ssh"}
