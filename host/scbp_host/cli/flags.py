"""Flags that several verbs have, each declared once, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scbp_host.errors import UsageError

Device = Annotated[str, typer.Argument(help="Profile name, or a PROFILE.toml.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for a board that is in use.", min=0.0)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
SummaryJson = Annotated[bool, typer.Option("--json", help="Print summary.json on stdout.")]

Config = Annotated[Path | None, typer.Option(help="A scbp.toml; ./scbp.toml is read where there is one.")]
Model = Annotated[str | None, typer.Option(help="torchvision classifier, or package.module:factory.")]
InputShape = Annotated[str | None, typer.Option(help="CxHxW, e.g. 3x224x224.")]
Superblocks = Annotated[int | None, typer.Option(help="How many superblocks of equal shares.")]
Ratios = Annotated[str | None, typer.Option(help="Width modifiers in (0, 1], e.g. 1,0.75,0.5,0.25; or a set.")]
LatencyBudget = Annotated[str | None, typer.Option(help="p50, e.g. 15ms.")]
MemoryBudget = Annotated[str | None, typer.Option(help="Peak memory, e.g. 300MB.")]
EnergyBudget = Annotated[str | None, typer.Option(help="Energy of one inference, e.g. 50mJ.")]

StoredRun = Annotated[str | None, typer.Argument(help="Run id; the newest where none is given.")]
Runs = Annotated[Path, typer.Option("--out", help="Folder of the store.")]


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Read ``3x224x224``; raises UsageError naming the flag."""
    if text is None:
        return None
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-shape: expected CxHxW such as 3x224x224, got {text!r}", "run: scbp-host run --help")
    return tuple(int(part) for part in parts)


def parse_ratios(text: str | None) -> tuple[float, ...] | str | None:
    """Read ``1,0.75,0.5``; raises UsageError naming the flag.

    A set such as ``uniform(1, 0.5)`` stays as it is, since it can be read only where the superblocks are known.
    """
    if text is None or "(" in text:
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        message = f"--ratios: expected numbers in (0, 1] separated by commas, got {text!r}"
        raise UsageError(message, "run: scbp-host run --help") from error
