"""A run's summary as a table at the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scbp_host.errors import InfeasibleError
from scbp_host.report.candidate import CandidateRecord
from scbp_host.report.headline import certainty, energy_line, searched, verdict
from scbp_host.report.summary import Summary

_FAILED_SHOWN = 5


def show_summary(summary: Summary, console: Console) -> None:
    """Print the verdict, the candidates and how far the figures can be trusted."""
    console.print(_table(summary))
    console.print(f"[bold]{escape(verdict(summary))}[/]")
    console.print(f"best: {escape(summary.best_reason)}")
    if sure := certainty(summary):
        console.print(f"sure: {sure}")
    console.print(f"space: {searched(summary)}")
    if summary.stopped is not None:
        console.print(f"stopped: {escape(summary.stopped.text)}")
    if summary.order is not None:
        console.print(f"order: {escape(summary.order.text)}")
    if summary.rate_hz is not None:
        console.print(f"timed at {summary.rate_hz:g} Hz, as a camera gives frames")
    if energy := energy_line(summary):
        console.print(escape(energy))
    if summary.latency_model is not None:
        model = summary.latency_model
        console.print(
            f"latency model, leave-one-out over {model.measured} structures: "
            f"{model.within_10_percent:.0%} within 10 %, largest error {model.largest_error:.1%}"
        )
    largest, whole = summary.structure_bytes.largest, summary.structure_bytes.model_bytes
    console.print(
        f"shipped {summary.bytes_shipped / 1e6:.1f} MB in all; a structure at most {largest / 1e3:.1f} kB "
        f"where the model is {whole / 1e6:.1f} MB"
    )
    for warning in summary.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")


def check_feasible(summary: Summary) -> None:
    """Raise InfeasibleError, which names the nearest miss, unless something met the budgets."""
    if summary.best is None:
        hint = f"wider budgets, offline: scbp-host rank {summary.run_id} --latency-budget ... --max-accuracy-drop ..."
        raise InfeasibleError(summary.best_reason, hint)


def _table(summary: Summary) -> Table:
    title = f"{summary.model.factory} on {summary.device.title}, run {summary.run_id}"
    # 80 columns are what a terminal surely has: p99 and the rest stand in the report.
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    milliseconds = "p50 emulated ms" if summary.device.emulated else "p50 ms"
    for name in ("", "ratios", milliseconds, "x seed", "RAM MB", "ONNX MB", "val %", "test %", "front"):
        table.add_column(name, justify="left" if name in ("", "ratios") else "right", no_wrap=True)
    finished = [record for record in summary.candidates if record.status == "trained"]
    others = [record for record in summary.candidates if record.status != "trained"]
    table.add_row(*_row(summary, summary.seed), end_section=True)
    for record in sorted(finished, key=lambda own: own.latency_p50_ms or 0.0):
        table.add_row(*_row(summary, record))
    failed = [record for record in others if record.status == "failed"]
    for record in failed[:_FAILED_SHOWN]:
        table.add_row("failed", _short(record), escape(record.failure.kind if record.failure else ""))
    halved = sum(record.status == "halved" for record in others)
    stopped = f"{halved} stopped by successive halving, " if halved else ""
    measured = len(others) - len(failed) - halved
    table.caption = f"{stopped}{measured} more structures were measured but not trained; report.html lists them"
    return table


def _row(summary: Summary, record: CandidateRecord) -> list[str]:
    ratio = ""
    if record.latency_ratio is not None and record.latency_ratio_ci95 is not None:
        low, high = record.latency_ratio_ci95
        ratio = f"{record.latency_ratio:.3f} ±{(high - low) / 2:.3f}"
    marks = {"seed": record.id == summary.seed.id, "best": summary.best is not None and record.id == summary.best.id}
    marks["tied"] = record.tied_with_best
    mark = next((name for name, is_it in marks.items() if is_it), "front" if record.on_front else "")
    cells = [
        mark,
        _short(record),
        _number(record.latency_p50_ms, "{:.3f}"),
        ratio,
        _number(record.peak_memory_mb, "{:.1f}"),
        _number(record.onnx_bytes and record.onnx_bytes / 1e6, "{:.2f}"),
        _number(record.val_top1 and 100 * record.val_top1, "{:.2f}"),
        _number(record.test_top1 and 100 * record.test_top1, "{:.2f}"),
        _number(None if record.chances is None else record.chances.on_front, "{:.0%}"),
    ]
    return [f"[bold green]{cell}[/]" for cell in cells] if mark == "best" else cells


def _short(record: CandidateRecord) -> str:
    ratios = "/".join(f"{ratio:g}".removeprefix("0") for ratio in record.ratios)
    return ratios if record.precision == "fp32" else f"{ratios} {record.precision}"


def _number(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)
