"""Whose network wins a budget, and by how much SCBP is ahead over all random seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy import stats

SCBP, UNIFORM, GLOBAL_L1 = "scbp", "uniform", "global-l1"
RIVALS = (UNIFORM, GLOBAL_L1)


def winners(trained: dict[str, list[dict[str, Any]]], budget: float) -> dict[str, Any]:
    """Choose each method's best on validation among what it trained and is in time; the fastest of equals."""
    within = {method: [run for run in own if run["latency_ratio"] <= budget] for method, own in trained.items()}
    return {
        method: max(own, key=lambda run: (run["val_top1"], -run["latency_ratio"])) for method, own in within.items()
    }


def compare(rounds: list[dict[str, Any]], guesses: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each budget SCBP's leads over the rivals on the test split, in points, paired over random seeds."""
    own_methods = [f"{SCBP}-{guess}" for guess in guesses]
    compared = []
    for fields in zip(*(own["budgets"] for own in rounds), strict=True):
        row = {name: fields[0][name] for name in ("multiplier", "latency_ratio")}
        top1 = {method: [100 * own[method]["test_top1"] for own in fields] for method in (*own_methods, *RIVALS)}
        row["test_top1"] = {method: statistics.mean(own) for method, own in top1.items()}
        row["lead"] = {
            f"{own} over {rival}": interval(
                [ours - theirs for ours, theirs in zip(top1[own], top1[rival], strict=True)]
            )
            for own in own_methods
            for rival in RIVALS
        }
        compared.append(row)
    return compared


def interval(differences: list[float]) -> dict[str, Any]:
    """Return mean and 95 % interval by Student's t; None where one value says nothing of the spread."""
    mean, count = statistics.mean(differences), len(differences)
    half = None
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return {"points": mean, "ci95": None if half is None else [mean - half, mean + half], "each": differences}


def table(compared: list[dict[str, Any]]) -> str:
    """Return the comparison as a table of docs/results.md."""
    methods, leads = list(compared[0]["test_top1"]), list(compared[0]["lead"])
    lines = [["budget", *methods, *leads], ["---"] * (1 + len(methods) + len(leads))]
    for row in compared:
        top1 = [f"{own:.1f} %" for own in row["test_top1"].values()]
        lines.append(
            [f"{row['multiplier']:g} ({row['latency_ratio']:.2f})", *top1, *map(_points, row["lead"].values())]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _points(lead: dict[str, Any]) -> str:
    if lead["ci95"] is None:
        return f"{lead['points']:+.1f}"
    return f"{lead['points']:+.1f} ({lead['ci95'][0]:+.1f} to {lead['ci95'][1]:+.1f})"
