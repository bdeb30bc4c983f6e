"""scbp-host measure: one model on one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from scbp_host.cli.console import print_json, show_warning
from scbp_host.cli.flags import Json, Wait
from scbp_host.cli.measure_view import Measured
from scbp_host.config import config_of_flags
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.domain.precision import Precision
from scbp_host.errors import DeviceError, ModelError, UsageError
from scbp_host.profiles import load_profile, require_clocks

if TYPE_CHECKING:  # what connects to a device is imported when it is needed
    from scbp_host.device.client import DeviceClient
    from scbp_host.measuring.session import MeasuringSession

T = TypeVar("T")

_NOT_DEVICE = frozenset({"BAD_MODEL", "EXPORT_FAILED"})


def measure(
    model: Annotated[Path, typer.Argument(help="An ONNX file with a static input of batch 1.")],
    device: Annotated[str, typer.Option(help="Profile name, or a PROFILE.toml.")] = "local",
    reference: Annotated[
        Path | None, typer.Option(help="Another ONNX to pair with; itself where none is given.")
    ] = None,
    ci_width: Annotated[
        str | None, typer.Option(help="Measure until the ratio's 95 % interval is narrower, e.g. 1%.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Measure for so long, or until then where --ci-width is not met before.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Run at a camera's rate, e.g. 30hz, and not in a tight loop.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Time every node as well, in a run of its own.")] = False,
    lock_clocks: Annotated[
        bool, typer.Option("--lock-clocks", help="Hold the board's clocks meanwhile, as the profile says.")
    ] = False,
    wait: Wait = 0.0,
    precision: Annotated[
        str | None, typer.Option(help="Measure it in these precisions as well, e.g. fp16,int8: for the latency alone.")
    ] = None,
    builds: Annotated[
        int, typer.Option(help="Build its engine this often and measure each build: how builds vary.", min=1)
    ] = 1,
    json: Json = False,
) -> None:
    """Measure latency and memory of a model, paired with a reference."""
    from scbp_host.device.client import open_device
    from scbp_host.export.formats import converter_for
    from scbp_host.measuring.builds import measure_builds
    from scbp_host.measuring.layers import measure_layers
    from scbp_host.measuring.reserving import Wants, reserve
    from scbp_host.measuring.session import MeasureSettings, MeasuringSession
    from scbp_host.measuring.settings import settings_of

    config = config_of_flags({"rate": rate, "ci_width": ci_width, "max_seconds": max_seconds})
    profile = load_profile(device)
    wanted = _read_precisions(profile, precision)
    settings = settings_of(MeasureSettings(), config, profile)
    convert = converter_for(profile.runtime)
    if lock_clocks:
        require_clocks(profile)
    content = _read_onnx(model)
    paired_with = content if reference is None else _read_onnx(reference)
    with open_device(profile) as client:
        wants = Wants(f"measure {model.name}", builds=builds > 1, held_clocks=lock_clocks)
        reserve(client, wants, wait, show_warning)
        for warning in client.warnings:
            show_warning(warning)
        session = MeasuringSession(client, settings, client.options, paired_with, None, convert=convert)
        measurement = _need(model, session.measure(content, pack=False))
        measured = Measured(
            measurement,
            client.info.emulated,
            {own.value: _need(model, _measure_in(own, session, client, content)) for own in wanted},
            _need(model, measure_builds(session, content, measurement, builds)) if builds > 1 else None,
            _need(model, measure_layers(client, content, None, pack=False)) if layers else None,
        )
    if json:
        print_json({"model": str(model), "device": profile.name, **measured.facts()})
    else:
        measured.show(str(model))


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
