"""scbp-host devices lock: keep every other session from measuring on a board."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scbp_host.cli.console import err, print_json, show_warning
from scbp_host.cli.flags import Device, Wait
from scbp_host.errors import UsageError
from scbp_host.profiles import load_profile

if TYPE_CHECKING:
    from scbp_agent import wire
    from scbp_host.device.client import DeviceClient

# How often the connection is looked after: where it was lost, the lock is taken again.
_KEEP_S = 5.0
# What a command may take to end when the board is lost.
_GRACE_S = 5.0


class CommandEnded(Exception):
    """A user's own command has ended; its exit code, 1 included, is the program's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def lock(
    device: Device,
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this with the lock held, after --, and end with its exit code.")
    ] = None,
    wait: Wait = 0.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print who holds it as JSON on stdout, once it is held.")
    ] = False,
) -> None:
    """Have a board to yourself, until Ctrl-C or for as long as a command runs."""
    from scbp_host.device.client import open_device

    profile = load_profile(device)
    with open_device(profile) as client:
        holder = client.reserve(f"devices lock {shlex.join(command or ())}".strip(), wait, show_warning)
        if command:
            _tell(profile.name, holder, json=json)
            raise CommandEnded(_run(command, holder.session, client))
        with contextlib.suppress(KeyboardInterrupt):
            err.print(f"{profile.name} is locked for {holder.owner}; Ctrl-C gives it back", soft_wrap=True)
            _tell(profile.name, holder, json=json)
            _hold(client)


def _tell(device: str, holder: wire.LockHolder, *, json: bool) -> None:
    if json:
        print_json({"device": device, **holder._asdict()})
        sys.stdout.flush()


def _hold(client: DeviceClient) -> NoReturn:
    while True:
        time.sleep(_KEEP_S)
        client.keep()


def _run(command: list[str], session: str, client: DeviceClient) -> int:
    """Run a command that has the board through us, and return its exit code as a shell has it."""
    from scbp_host.device.reservation import LENT_VARIABLE

    try:
        process = subprocess.Popen(command, env={**os.environ, LENT_VARIABLE: session})
    except OSError as error:
        raise UsageError(
            f"{command[0]}: cannot be started ({error.strerror})", "give a program and its arguments"
        ) from error
    with process:
        try:
            code = _await_end(process, client)
        finally:
            _end(process)
    return 128 - code if code < 0 else code


def _await_end(process: subprocess.Popen[bytes], client: DeviceClient) -> int:
    while True:
        try:
            return process.wait(_KEEP_S)
        except subprocess.TimeoutExpired:
            client.keep()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that goes on without the board, or after Ctrl-C, which has reached it as well."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return
        process.kill()
