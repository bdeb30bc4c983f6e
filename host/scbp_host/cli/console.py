"""What every verb shares: two consoles, and the way an error is shown."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
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


def show_warning(message: str) -> None:
    """Print one line that stops nothing."""
    err.print(f"[yellow]warning:[/] {escape(message)}", soft_wrap=True)


def show_error(error: ScbpError) -> None:
    """Print the one line, and what to try next."""
    # soft_wrap: a line that is piped or searched must stay a line.
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"[dim]hint:[/] {escape(error.hint)}", soft_wrap=True)


def show_internal_error(error: BaseException) -> None:
    """Print one line for a bug, and keep the traceback in a file for the report."""
    path = _write_log("".join(traceback.format_exception(error)))
    err.print(f"[bold red]internal error:[/] {escape(f'{type(error).__name__}: {error}')}", soft_wrap=True)
    err.print(f"[dim]hint:[/] report it with {path}; --resume goes on from the last stage", soft_wrap=True)


def _write_log(text: str) -> Path:
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        path = folder / "scbp-error.log"
        # A folder that cannot be written must not hide the bug behind a second one.
        with contextlib.suppress(OSError):
            path.write_text(text, encoding="utf-8")
            break
    return path
