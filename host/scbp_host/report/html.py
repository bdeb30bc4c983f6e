"""One self-contained page: nothing in it is loaded from anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scbp_host.report import figures
from scbp_host.report.candidate import CandidateRecord
from scbp_host.report.files import write_atomically
from scbp_host.report.headline import cards, certainty, searched, verdict
from scbp_host.report.summary import Summary


def write_html(summary: Summary, path: Path) -> None:
    """Write ``report.html``; raises StoreError where the folder takes none."""
    write_atomically(path, render_html(summary))


def render_html(summary: Summary) -> str:
    """Return the page; the same summary gives the same bytes."""
    from scbp_host.report.plots import pareto_svg, ratio_svg  # matplotlib is slow to import

    environment = Environment(
        loader=PackageLoader("scbp_host.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figures.FILTERS)
    if summary.device.emulated:
        environment.filters["ms"] = figures.emulated_ms
    return environment.get_template("report.html.j2").render(
        summary=summary,
        verdict=verdict(summary),
        searched=searched(summary),
        certainty=certainty(summary),
        cards=cards(summary),
        # matplotlib escapes what it draws: these two are markup, everything else is text.
        pareto=Markup(pareto_svg(summary)),  # noqa: S704
        ratios=Markup(ratio_svg(summary)),  # noqa: S704
        sections=_sections(summary),
        alone=[(title, record) for title, record in (("Seed", summary.seed), ("Best", summary.best)) if record],
        facts=json.dumps(dict(summary.device.facts), indent=2, ensure_ascii=False),
    )


def _sections(summary: Summary) -> list[tuple[str, list[CandidateRecord]]]:
    """Return the table's rows under their headings, the fastest first."""
    candidates = [record for record in summary.candidates if record.id != summary.seed.id]
    by_status = (
        ("Trained", "trained"),
        ("Stopped by successive halving", "halved"),
        ("Measured, not trained", "measured"),
        ("Failed", "failed"),
    )
    sections = [("Seed", [summary.seed])]
    for title, status in by_status:
        rows = [record for record in candidates if record.status == status]
        sections.append((title, sorted(rows, key=_fastest_first)))
    return [(title, rows) for title, rows in sections if rows]


def _fastest_first(record: CandidateRecord) -> tuple[bool, float, str]:
    return record.latency_p50_ms is None, record.latency_p50_ms or 0.0, record.id
