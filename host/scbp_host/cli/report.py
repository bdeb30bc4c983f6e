"""scbp-host report: summary.json and report.html again, from the store alone."""

from __future__ import annotations

from pathlib import Path

from scbp_host.cli.console import out, print_json
from scbp_host.cli.flags import Runs, StoredRun, SummaryJson


def report(
    run: StoredRun = None,
    runs: Runs = Path("runs"),
    json: SummaryJson = False,
) -> None:
    """Write a run's summary.json and report.html again."""
    from scbp_host.cli.stored import open_run
    from scbp_host.report import write_html, write_summary
    from scbp_host.stages.summary import summarise

    with open_run(runs, run) as (store, run_id):
        summary = summarise(store, run_id)
    folder = runs / run_id
    write_summary(summary, folder / "summary.json")
    write_html(summary, folder / "report.html")
    if json:
        print_json(summary.model_dump(mode="json"))
    else:
        out.print(f"report: {folder / 'report.html'}", soft_wrap=True)
