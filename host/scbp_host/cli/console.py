"""What every verb shares: two consoles, and the way an error is shown."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from scbp_host.errors import ScbpError

# Results go to stdout, so that they can be piped; everything else goes to stderr.
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_error(error: ScbpError) -> None:
    """Print the one line, and what to try next."""
    # soft_wrap: a line that is piped or searched must stay a line.
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"[dim]try:[/] {escape(error.hint)}", soft_wrap=True)


def show_internal_error(error: BaseException) -> None:
    """Print one line for a bug, and keep the traceback in a file for the report."""
    path = Path("scbp-error.log")
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    err.print(f"[bold red]internal error:[/] {escape(f'{type(error).__name__}: {error}')}", soft_wrap=True)
    err.print(f"[dim]try:[/] report it with {path.resolve()}; --resume goes on from the last stage", soft_wrap=True)
