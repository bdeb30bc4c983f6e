"""The report's plots: SVG that lives inside the page, takes its colours from it, and is the same bytes every time."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scbp_host.report import figures
from scbp_host.report.candidate import CandidateRecord
from scbp_host.report.summary import Summary

# matplotlib wants colours now, the page has them only when it is shown (light or dark): these stand for the page's
# CSS variables and are replaced by them in the SVG.
_INK, _FAINT, _GRID, _FRONT, _BEST, _SEED, _BUDGET = (f"#0a0b0{digit}" for digit in range(1, 8))
_CSS = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--line)",
    _FRONT: "var(--accent)",
    _BEST: "var(--best)",
    _SEED: "var(--seed)",
    _BUDGET: "var(--warn)",
}
# On top of matplotlib's defaults: a user's own matplotlibrc changes nothing here.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "scbp",  # ids that are the same in every run
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and drawn in the page's font
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_SIZE_IN = (7.0, 4.4)


def pareto_svg(summary: Summary) -> str:
    """Plot p50 latency (ms, with its interval) against the validation accuracy (%), or "" where nothing is trained."""
    trained = [c for c in summary.candidates if c.id != summary.seed.id and _drawable(c)]
    if not trained:
        return ""
    with style.context(["default", _STYLE]):
        figure, axes = _figure(
            f"latency p50 (ms{', emulated' if summary.device.emulated else ''})",
            f"validation {summary.data.metric} (%)",
        )
        for record in trained:
            _point(axes, record, summary)
        if _drawable(summary.seed):
            _point(axes, summary.seed, summary)
        _front_line(axes, [c for c in (*trained, summary.seed) if c.on_front and _drawable(c)])
        _budget_lines(axes, summary)
        axes.margins(x=0.12, y=0.14)
        axes.legend(loc="lower right", fontsize=9)
        return _inline_svg(figure, "pareto", "Validation accuracy against latency; the Pareto front is highlighted")


def ratio_svg(summary: Summary) -> str:
    """Plot every measured structure's latency ratio with its interval, sorted, or return "" where there is none."""
    measured = sorted(
        (c for c in summary.candidates if c.latency_ratio is not None and c.id != summary.seed.id),
        key=lambda record: record.latency_ratio or 0.0,
    )
    if not measured:
        return ""
    with style.context(["default", _STYLE]):
        figure, axes = _figure("measured structures, fastest first", "latency / the seed's latency")
        axes.axhline(1.0, color=_SEED, linewidth=1.2, linestyle="--", label=summary.model.factory)
        for position, record in enumerate(measured, start=1):
            _bar(axes, position, record, summary)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, len(measured) + 1)
        axes.legend(loc="lower right", fontsize=9)
        return _inline_svg(figure, "ratio", "Latency ratio of every measured structure, with 95 % intervals")


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _drawable(record: CandidateRecord) -> bool:
    return record.latency_p50_ms is not None and record.val_top1 is not None


def _kind(record: CandidateRecord, summary: Summary) -> tuple[str, str, str, int]:
    """Return (colour, marker, legend entry, size in points) of a record."""
    if record.id == summary.seed.id:
        return _SEED, "D", summary.model.factory, 8
    if summary.best is not None and record.id == summary.best.id:
        return _BEST, "*", f"best, {record.label}", 15
    if record.on_front:
        return _FRONT, "o", "on the front", 7
    return _FAINT, "o", "trained" if record.val_top1 is not None else "measured, not trained", 6


def _label_once(axes: Axes, label: str) -> str:
    return "_nolegend_" if label in axes.get_legend_handles_labels()[1] else label


def _point(axes: Axes, record: CandidateRecord, summary: Summary) -> None:
    color, marker, label, size = _kind(record, summary)
    assert record.latency_p50_ms is not None
    assert record.val_top1 is not None
    x, y = record.latency_p50_ms, 100 * record.val_top1
    low, high = _interval_ms(record)
    axes.plot([low, high], [y, y], color=color, linewidth=1.4, zorder=3)
    title = f"{_name(record, summary)}: {figures.ms(x)}, {figures.percent(record.val_top1)}"
    axes.plot([x], [y], marker, color=color, markersize=size, zorder=4, label=_label_once(axes, label), gid=_gid(title))
    if color in (_SEED, _BEST):
        axes.annotate(_name(record, summary), (x, y), (0, 9), textcoords="offset points", ha="center", color=color)


def _interval_ms(record: CandidateRecord) -> tuple[float, float]:
    assert record.latency_p50_ms is not None
    if not record.latency_ratio or record.latency_ratio_ci95 is None:
        return record.latency_p50_ms, record.latency_p50_ms
    # p50 is the ratio times the seed's p50, so the bounds scale alike.
    low, high = record.latency_ratio_ci95
    return record.latency_p50_ms * low / record.latency_ratio, record.latency_p50_ms * high / record.latency_ratio


def _front_line(axes: Axes, front: Sequence[CandidateRecord]) -> None:
    # The front has more axes than these two: the line joins the members that are on it in this plane.
    xs: list[float] = []
    ys: list[float] = []
    for record in sorted(front, key=lambda c: (c.latency_p50_ms or 0.0, -(c.val_top1 or 0.0))):
        if not ys or 100 * (record.val_top1 or 0.0) > ys[-1]:
            xs.append(record.latency_p50_ms or 0.0)
            ys.append(100 * (record.val_top1 or 0.0))
    axes.plot(xs, ys, color=_FRONT, linewidth=1, alpha=0.6, drawstyle="steps-post", zorder=2)


def _budget_lines(axes: Axes, summary: Summary) -> None:
    budgets = summary.budgets
    if budgets.latency_ms is not None:
        axes.axvline(budgets.latency_ms, color=_BUDGET, linestyle=":", label=f"budget {figures.ms(budgets.latency_ms)}")
    if budgets.max_accuracy_drop is not None and summary.seed.val_top1 is not None:
        least = summary.seed.val_top1 - budgets.max_accuracy_drop
        axes.axhline(100 * least, color=_BUDGET, linestyle=":", label=f"budget {figures.percent(least)}")


def _bar(axes: Axes, position: int, record: CandidateRecord, summary: Summary) -> None:
    color, marker, label, size = _kind(record, summary)
    assert record.latency_ratio is not None
    low, high = record.latency_ratio_ci95 or (record.latency_ratio, record.latency_ratio)
    axes.plot([position, position], [low, high], color=color, linewidth=1.4, zorder=3)
    title = f"{_name(record, summary)}: {figures.ratio(record.latency_ratio)}"
    axes.plot(
        [position],
        [record.latency_ratio],
        marker,
        color=color,
        markersize=size - 2,
        label=_label_once(axes, label),
        markerfacecolor="none" if record.val_top1 is None else color,
        zorder=4,
        gid=_gid(title),
    )


def _name(record: CandidateRecord, summary: Summary) -> str:
    return summary.model.factory if record.id == summary.seed.id else record.label


def _gid(title: str) -> str:
    return f"title:{title}"


def _inline_svg(figure: Figure, prefix: str, title: str) -> str:
    """Render to an ``<svg>`` element with colours from the page, ids of its own, and tooltips."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    drawn = buffer.getvalue()
    # Without the XML prologue, which HTML does not know, and without the metadata, which hold the time of drawing.
    svg = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    for color, variable in _CSS.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'<g id="title:([^"]*)">', r"<g><title>\1</title>", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\1{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
