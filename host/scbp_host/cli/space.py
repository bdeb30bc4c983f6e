"""scbp-host space: what a run would search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from scbp_host.cli.console import out, print_json
from scbp_host.cli.flags import Config, InputShape, Json, Model, Ratios, Superblocks, parse_ratios, parse_shape
from scbp_host.config import load_config

if TYPE_CHECKING:
    from scbp_host.stages.space_view import Cost, SpaceView

app = typer.Typer(help="The search space: show.", no_args_is_help=True)

_MOVED_SHOWN = 8


@app.command("show")
def show(
    model: Model = None,
    by: Annotated[
        str | None, typer.Option("--by", "--binning", help="stage, params, macs or latency; names are in scbp.toml.")
    ] = None,
    superblocks: Superblocks = None,
    input_shape: InputShape = None,
    ratios: Ratios = None,
    device: Annotated[str | None, typer.Option(help="Profile name, or a PROFILE.toml.")] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Time the layers on the device, whatever the binning.")
    ] = False,
    num_classes: Annotated[int, typer.Option(min=2, help="Outputs of the model; a run takes them from its data.")] = 10,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show superblocks, their layers and what these cost; a device is needed for latency alone."""
    flags: dict[str, Any] = {
        "model": model,
        "binning": by,
        "superblocks": superblocks,
        "input_shape": parse_shape(input_shape),
        "ratios": parse_ratios(ratios),
        "device": device,
    }
    chosen = load_config(config, flags)
    from scbp_host.stages.space_view import view_space  # torch takes seconds to import

    view = view_space(chosen, num_classes, timed=latency)
    print_json(view.to_json()) if json else _show(view)


def _show(view: SpaceView) -> None:
    out.print(_table(view))
    for sentence in view.moved[:_MOVED_SHOWN]:
        out.print(f"moved: {escape(sentence)}", soft_wrap=True)
    if len(view.moved) > _MOVED_SHOWN:
        out.print(f"moved: {len(view.moved) - _MOVED_SHOWN} more; --json lists all")
    if view.unattributed_share is not None:
        out.print(f"{view.unattributed_share:.1%} of the time is of nodes that name no layer; the layer before has it")
    offered = view.ratios if isinstance(view.ratios, str) else ", ".join(f"{ratio:g}" for ratio in view.ratios)
    size = f"{view.structures:,}"
    if view.structures_ci95 is not None:
        size = "about {} ({:,} to {:,})".format(size, *view.structures_ci95)
    out.print(f"space: {size} networks of {escape(offered)} over {len(view.superblocks)} superblocks", soft_wrap=True)


def _table(view: SpaceView) -> Table:
    shape = "x".join(str(size) for size in view.seed.input_shape)
    title = f"{view.seed.factory}, input {shape}, {len(view.superblocks)} superblocks by {view.binning}"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("superblock\n  layers of one width", overflow="fold")
    for name in ("channels", "params", "MACs", *(["ms"] if view.device else []), "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(view):
        table.add_row(*row)
    return table


def _rows(view: SpaceView) -> Iterator[list[str]]:
    """Yield a row for every superblock, followed by one for each of its groups; the head and the sum are last."""
    for block in view.superblocks:
        yield [f"[bold]{escape(block.name)}[/]", str(block.channels), *_cells(view, block.cost, "bold")]
        for group in block.groups:
            yield [f"  {escape(', '.join(group.layers))}", str(group.channels), *_cells(view, group.cost, "dim")]
    yield ["[bold]head, its width stays[/]", "", *_cells(view, view.head, "bold")]
    yield ["[bold]all[/]", "", *_cells(view, view.total, "bold")]


def _cells(view: SpaceView, cost: Cost, style: str) -> list[str]:
    milliseconds = [] if cost.latency_ms is None else [f"{cost.latency_ms:.3f}"]
    texts = [f"{cost.params:,}", f"{cost.macs:,}", *milliseconds, f"{_share(view, cost):.1%}"]
    return [f"[{style}]{text}[/]" for text in texts]


def _share(view: SpaceView, cost: Cost) -> float:
    """Return the share of what the superblocks were made equal in; of MACs where that is no cost."""
    unit = {"params": "params", "latency": "latency_ms"}.get(view.binning, "macs")
    return float((getattr(cost, unit) or 0.0) / (getattr(view.total, unit) or 1.0))
