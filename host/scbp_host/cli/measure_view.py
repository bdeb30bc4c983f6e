"""What scbp-host measure prints: the facts of a measurement, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from scbp_host.cli.console import out
from scbp_host.domain.alone import Alone
from scbp_host.domain.measurement import Measurement, NodeLatency

if TYPE_CHECKING:  # what connects to a device is imported when it is needed
    from scbp_host.measuring.builds import Builds


@dataclass(frozen=True)
class Measured:
    """What was measured of one model.

    Attributes:
        measurement: of the model as it is.
        emulated: by what the device is emulated, so that its latencies mean nothing; None is a real one.
        variants: the measurements in further precisions, by name.
        builds: those of several engines, where they were asked for.
        nodes: each node's time, where they were asked for.
    """

    measurement: Measurement
    emulated: str | None
    variants: Mapping[str, Measurement]
    builds: Builds | None
    nodes: Sequence[NodeLatency] | None

    def facts(self) -> dict[str, Any]:
        """Return everything, as JSON has it."""
        variants = {name: _facts(own) for name, own in self.variants.items()}
        return {
            **self._own_facts(),
            **({} if self.nodes is None else {"layers": _rows(self.nodes)}),
            **({"precisions": variants} if variants else {}),
            **({} if self.builds is None else _builds(self.builds)),
        }

    def show(self, title: str) -> None:
        """Print a table for each part."""
        _show(title, self._own_facts())
        for name, own in self.variants.items():
            _show(f"{title} in {name}", _facts(own))
        if self.builds is not None:
            _show_builds(self.builds)
        if self.nodes is not None:
            _show_layers(_rows(self.nodes))

    def _own_facts(self) -> dict[str, Any]:
        return {**_facts(self.measurement), "emulated": self.emulated}


def _builds(built: Builds) -> dict[str, Any]:
    facts = [_facts(own) for own in built.measurements]
    wanted = ("latency_p50_ms", "latency_ratio", "latency_ratio_ci95", "build_s")
    whole = built.whole.ratio
    return {
        "builds": [{name: own[name] for name in wanted} for own in facts],
        "build_spread": built.spread,
        "latency_ratio_over_builds": {"value": whole.value, "ci95": [whole.low, whole.high]},
    }


def _show_builds(built: Builds) -> None:
    table = Table()
    for name in ("build", "p50 ms", "ratio", "95 %", "took s"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, own in enumerate(_builds(built)["builds"]):
        low, high = own["latency_ratio_ci95"]
        took = "unknown" if own["build_s"] is None else f"{own['build_s']:.1f}"
        table.add_row(
            str(number), f"{own['latency_p50_ms']:.3f}", f"{own['latency_ratio']:.3f}", f"{low:.3f} to {high:.3f}", took
        )
    out.print(table)
    out.print(f"The slowest build is {built.spread:.1%} slower than the fastest.")


def _facts(measurement: Measurement) -> dict[str, Any]:
    from scbp_host.measuring.paired import quantile_ns

    blocks = measurement.candidate_blocks_ns
    return {
        **{f"latency_p{percent}_ms": quantile_ns(blocks, percent / 100) / 1e6 for percent in (50, 90, 99)},
        "latency_max_ms": quantile_ns(blocks, 1.0) / 1e6,
        **_intervals(measurement),
        "latency_ratio": measurement.ratio.value,
        "latency_ratio_ci95": [measurement.ratio.low, measurement.ratio.high],
        "rate_hz": None if measurement.period_ns is None else 1e9 / measurement.period_ns,
        "missed_frames": measurement.missed_periods,
        "load_ms": measurement.load_ns / 1e6,
        "sampling": measurement.sampling and measurement.sampling.to_json(),
        "clock_policy": (measurement.conditions.get("after") or {}).get("clock_policy"),
        "peak_memory_mb": measurement.peak_rss_bytes / 1e6,
        **_alone_facts(measurement.alone),
        "samples": sum(len(block) for block in blocks),
        "verdicts": [own.kind.value for own in measurement.verdicts],
        "warnings": list(measurement.warnings),
    }


def _intervals(measurement: Measurement) -> dict[str, Any]:
    """Return the quantiles' intervals; a maximum has none."""
    from scbp_host.measuring.paired import quantile_interval_ns

    sampling, blocks = measurement.sampling, measurement.candidate_blocks_ns
    if sampling is None or sampling.loads < 2:
        return {}
    own = {percent: quantile_interval_ns(blocks, percent / 100, loads=sampling.loads) for percent in (50, 90, 99)}
    return {f"latency_p{percent}_ci95_ms": [each.low / 1e6, each.high / 1e6] for percent, each in own.items()}


def _alone_facts(alone: Alone | None) -> dict[str, Any]:
    from scbp_host.report.candidate import EnergyRecord, PhaseRecord

    if alone is None:
        return {}
    energy = alone.energy
    return {
        "warm_load_ms": alone.warm_load.duration_ns / 1e6,
        "build_s": None if alone.build_ns is None else alone.build_ns / 1e9,
        "energy": energy and EnergyRecord.of(energy).model_dump(mode="json"),
        "phases": [PhaseRecord.of(name, phase).model_dump(mode="json") for name, phase in alone.phases.items()],
        "gpu_ms": alone.device_times and alone.device_times.medians_ms,
        "notes": list(alone.notes),
    }


def _show(title: str, facts: dict[str, Any]) -> None:
    table = Table(title=escape(title), title_justify="left", show_header=False)
    phases = facts.pop("phases", [])
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, escape(_text(value)))
    out.print(table)
    if phases:
        _show_phases(phases)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(own) for own in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(own)}" for name, own in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_phases(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="alone in a worker", title_justify="left")
    table.add_column("phase")
    columns = {"ms": "ms", "peak_mb": "peak MB", "pss_mb": "PSS MB", "gpu_mb": "GPU MB", "system_mb": "board MB"}
    for name in columns.values():
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], *("–" if row[key] is None else f"{row[key]:.1f}" for key in columns))
    out.print(table)
    out.print("The figures of memory overlap: none may be added to another. A dash is what this board cannot tell.")


def _rows(nodes: Sequence[NodeLatency]) -> list[dict[str, Any]]:
    total_ns = sum(node.latency_ns for node in nodes) or 1
    return [
        {
            "name": node.name,
            "op_type": node.op_type,
            "latency_ms": node.latency_ns / 1e6,
            "share": node.latency_ns / total_ns,
        }
        for node in nodes
    ]


def _show_layers(rows: Sequence[dict[str, Any]]) -> None:
    table = Table()
    table.add_column("node", overflow="fold")
    table.add_column("operator")
    for name in ("ms", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        name, operator = escape(row["name"]), escape(row["op_type"])
        table.add_row(name, operator, f"{row['latency_ms']:.3f}", f"{row['share']:.1%}")
    out.print(table)
    out.print("Nodes as executed, under the runtime's profiler, which slows them down: only the shares count.")
