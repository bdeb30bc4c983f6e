"""scbp-host measure: one model on one device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from scbp_host.cli.console import out, print_json, show_warning
from scbp_host.config import config_of_flags
from scbp_host.domain.alone import Alone
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.measurement import Measurement, NodeLatency
from scbp_host.domain.outcome import Failure
from scbp_host.domain.precision import Precision
from scbp_host.errors import DeviceError, ModelError, UsageError
from scbp_host.profiles import load_profile, require_clocks

if TYPE_CHECKING:  # what connects to a device is imported when it is needed
    from scbp_host.device.client import DeviceClient
    from scbp_host.measuring.builds import Builds
    from scbp_host.measuring.session import MeasuringSession

T = TypeVar("T")

_NOT_DEVICE = frozenset({"BAD_MODEL", "EXPORT_FAILED"})


def measure(
    model: Annotated[Path, typer.Argument(help="An ONNX file with a static input of batch 1.")],
    device: Annotated[str, typer.Option(help="Profile name, or a PROFILE.toml.")] = "local",
    reference: Annotated[
        Path | None, typer.Option(help="Another ONNX to pair with; itself where none is given.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Run at a camera's rate, e.g. 30hz, and not in a tight loop.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Time every node as well, in a run of its own.")] = False,
    lock_clocks: Annotated[
        bool, typer.Option("--lock-clocks", help="Hold the board's clocks meanwhile, as the profile says.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a board that is in use.", min=0.0)] = 0.0,
    precision: Annotated[
        str | None, typer.Option(help="Measure it in these precisions as well, e.g. fp16,int8: for the latency alone.")
    ] = None,
    builds: Annotated[
        int, typer.Option(help="Build its engine this often and measure each build: how builds vary.", min=1)
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Measure latency and memory of a model, paired with a reference."""
    from scbp_host.device.client import open_device
    from scbp_host.export.formats import converter_for
    from scbp_host.measuring.builds import measure_builds, require_builds
    from scbp_host.measuring.layers import measure_layers
    from scbp_host.measuring.session import MeasureSettings, MeasuringSession
    from scbp_host.measuring.settings import period_of

    period_ns = period_of(config_of_flags({"rate": rate}).rate)
    profile = load_profile(device)
    wanted = _read_precisions(profile, precision)
    settings = MeasureSettings(period_ns=period_ns, memory_limit_bytes=profile.memory_limit_bytes)
    convert = converter_for(profile.runtime)
    if lock_clocks:
        require_clocks(profile)
    content = _read_onnx(model)
    paired_with = content if reference is None else _read_onnx(reference)
    with open_device(profile) as client:
        client.require_runtime(profile.runtime)
        if builds > 1:
            require_builds(client)
        client.reserve(f"measure {model.name}", wait, show_warning)
        if lock_clocks:
            client.lock_clocks()
        for warning in client.warnings:
            show_warning(warning)
        session = MeasuringSession(client, settings, client.options, paired_with, None, 0, convert=convert)
        measured = _need(model, session.measure(content, pack=False))
        nodes = _need(model, measure_layers(client, content, None, pack=False)) if layers else ()
        variants = {own.value: _facts(_need(model, _measure_in(own, session, client, content))) for own in wanted}
        built = _need(model, measure_builds(session, content, measured, builds))
    facts, rows = {**_facts(measured), "emulated": client.info.emulated}, _rows(nodes)
    if json:
        further = {"precisions": variants} if wanted else {}
        further |= _builds(built) if builds > 1 else {}
        print_json(
            {"model": str(model), "device": profile.name, **facts, **({"layers": rows} if layers else {}), **further}
        )
        return
    _show(str(model), facts)
    for name, own in variants.items():
        _show(f"{model} in {name}", own)
    if builds > 1:
        _show_builds(built)
    if layers:
        _show_layers(rows)


def _builds(built: Builds) -> dict[str, Any]:
    facts = [_facts(own) for own in built.measurements]
    wanted = ("latency_p50_ms", "latency_ratio", "latency_ratio_ci95", "build_s")
    return {"builds": [{name: own[name] for name in wanted} for own in facts], "build_spread": built.spread}


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


def _read_precisions(profile: DeviceProfile, text: str | None) -> tuple[Precision, ...]:
    """Read ``fp16,int8``; raises UsageError where one is unknown, or the device has no way to it."""
    if text is None:
        return ()
    from scbp_host.export.precision import check_precisions  # torch takes seconds to import

    try:
        wanted = tuple(Precision(own) for own in text.split(","))
    except ValueError as error:
        known = ", ".join(Precision)
        raise UsageError(
            f"--precision: expected some of {known}, got {text!r}", "run: scbp-host measure --help"
        ) from error
    check_precisions(profile, wanted)
    return wanted


def _measure_in(
    precision: Precision, session: MeasuringSession, client: DeviceClient, content: bytes
) -> Measurement | Failure:
    """Measure a model in one precision; the ranges of eight bits come from noise, which the latency does not see."""
    import numpy as np

    from scbp_host.export.precision import make_variant

    profile = client.profile
    noise = np.random.default_rng(0).normal(size=_input_shape(content)).astype(np.float32)
    variant = make_variant(content, precision, profile.runtime, client.info.runtimes[profile.runtime], noise)
    return session.measure(variant.onnx, pack=False, told=variant.settings)


def _input_shape(content: bytes) -> tuple[int, ...]:
    import onnx

    graph = onnx.load_model_from_string(content).graph
    return tuple(own.dim_value or 1 for own in graph.input[0].type.tensor_type.shape.dim)


def _need(model: Path, outcome: T | Failure) -> T:
    """Return what was measured; raises the error that a failure is to the user."""
    if isinstance(outcome, Failure):
        kind = ModelError if outcome.kind in _NOT_DEVICE else DeviceError
        raise kind(f"{model}: {outcome.kind}: {outcome.message}", outcome.hint)
    return outcome


def _read_onnx(path: Path) -> bytes:
    """Read a file that is an ONNX model in one piece; raises ModelError."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", "give the path of a .onnx file") from error
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX model", "export one with torch.onnx.export") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: not an ONNX model: it has no operators", "export one with torch.onnx.export")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        hint = "save it in one file: onnx.save_model(model, path, save_as_external_data=False)"
        raise ModelError(f"{path}: keeps its weights in other files; expected one self-contained file", hint)
    return content


def _facts(measurement: Measurement) -> dict[str, Any]:
    from scbp_host.measuring.paired import quantile_ns

    blocks = measurement.candidate_blocks_ns
    return {
        **{f"latency_p{percent}_ms": quantile_ns(blocks, percent / 100) / 1e6 for percent in (50, 90, 99)},
        "latency_max_ms": quantile_ns(blocks, 1.0) / 1e6,
        "latency_ratio": measurement.ratio.value,
        "latency_ratio_ci95": [measurement.ratio.low, measurement.ratio.high],
        "rate_hz": None if measurement.period_ns is None else 1e9 / measurement.period_ns,
        "missed_frames": measurement.missed_periods,
        "load_ms": measurement.load_ns / 1e6,
        "clock_policy": (measurement.conditions.get("after") or {}).get("clock_policy"),
        "peak_memory_mb": measurement.peak_rss_bytes / 1e6,
        **_alone_facts(measurement.alone),
        "samples": sum(len(block) for block in blocks),
        "warnings": list(measurement.warnings),
    }


def _alone_facts(alone: Alone | None) -> dict[str, Any]:
    from scbp_host.report.summary import EnergyRecord, PhaseRecord

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
