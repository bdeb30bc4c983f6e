"""scbp-host rank: another ranking of a run, from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scbp_host.cli.console import out, print_json
from scbp_host.cli.flags import EnergyBudget, LatencyBudget, MemoryBudget, Runs, StoredRun, SummaryJson
from scbp_host.config import config_of_flags


def rank(
    run: StoredRun = None,
    latency_budget: LatencyBudget = None,
    memory_budget: MemoryBudget = None,
    energy_budget: EnergyBudget = None,
    max_accuracy_drop: Annotated[float | None, typer.Option(help="Points below the seed's validation top-1.")] = None,
    runs: Runs = Path("runs"),
    json: SummaryJson = False,
) -> None:
    """Rank a run again, offline, under the budgets given (none given: those of the run)."""
    from scbp_host.cli.stored import open_run  # what needs SQLAlchemy or matplotlib takes a second to import
    from scbp_host.cli.tables import check_feasible, show_summary
    from scbp_host.stages.summary import budgets_of, summarise

    given = {
        "latency_budget": latency_budget,
        "memory_budget": memory_budget,
        "energy_budget": energy_budget,
        "max_accuracy_drop": max_accuracy_drop,
    }
    budgets = budgets_of(config_of_flags(given)) if any(value is not None for value in given.values()) else None
    with open_run(runs, run) as (store, run_id):
        summary = summarise(store, run_id, budgets)
    if json:
        print_json(summary.model_dump(mode="json"))
    else:
        show_summary(summary, out)
    check_feasible(summary)
