"""The one file that owns the choice of exporter.

torch's default exporter (dynamo=True) silently writes opset 18 or newer; a Jetson on JetPack 4 reads opset 13 at most.
The TorchScript exporter still writes what it is asked for, folds BatchNorm into convolutions, and takes a tenth of the
time. Whatever wrote the file: opset and IR version are checked on the bytes.
"""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from torch import nn
from torch.jit._trace import TracerWarning

from scbp_host.errors import ModelError

INPUT_NAME = "input"
OUTPUT_NAME = "logits"
# From IR 4 on initializers need not be listed as inputs, which is the form written here.
_MIN_IR_VERSION = 4


class ExportError(ModelError):
    """A module cannot be written as the ONNX the device reads."""


def export_onnx(module: nn.Module, input_shape: tuple[int, int, int], *, opset: int, ir_version: int) -> bytes:
    """Write ``module`` as one self-contained ONNX file with a static batch of 1.

    The operators depend on the structure alone, never on the weights' values.

    Args:
        module: on the CPU; exported in eval mode, left as it was.
        input_shape: (channels, height, width) of one image.
        opset: of the default domain.
        ir_version: of the file.

    Returns:
        the file; input ``input`` float32 (1, channels, height, width), output ``logits`` float32 (1, num_classes).

    Raises:
        ExportError: an operator or a version cannot be written, or the written file is not what was asked for.
    """
    model = onnx.load_model_from_string(_torchscript_export(module, input_shape, opset))
    _unshare_initializers(model.graph)
    _stamp_ir_version(model, ir_version)
    written: bytes = model.SerializeToString()
    check_onnx(written, opset=opset, ir_version=ir_version)
    return written


def check_onnx(written: bytes, *, opset: int, ir_version: int) -> None:
    """Raise ExportError unless the bytes are a valid ONNX of exactly these versions, in one file."""
    model = onnx.load_model_from_string(written)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": opset}:
        raise ExportError(f"export: expected opset {opset} of the default domain alone, the file says {found}")
    if model.ir_version != ir_version:
        raise ExportError(f"export: expected ONNX IR {ir_version}, the file says {model.ir_version}")
    external = [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if external:
        raise ExportError(f"export: tensor {external[0]!r} lies outside the file")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"export: not valid ONNX: {_line(error)}") from error


def _torchscript_export(module: nn.Module, input_shape: tuple[int, int, int], opset: int) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Its deprecation is known; tracer warnings are about Python branches, which a static shape makes constant.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx|scbp_host\.export")
        warnings.filterwarnings("ignore", category=TracerWarning)
        try:
            torch.onnx.export(
                module,
                (torch.zeros(1, *input_shape),),
                buffer,  # type: ignore[arg-type]  # documented for this exporter, missing from its annotation
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
            raise ExportError(f"export: {type(module).__name__} at opset {opset}: {_line(error)}") from error
    return buffer.getvalue()


def _unshare_initializers(graph: onnx.GraphProto) -> None:
    """Undo the exporter's merging of equal tensors, which makes the operators depend on the weights' values.

    It stores one of the equal tensors and puts an Identity in the others' place.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        own = graph.initializer.add()
        own.CopyFrom(stored[node.input[0]])
        own.name = node.output[0]
        graph.node.remove(node)


def _stamp_ir_version(model: onnx.ModelProto, ir_version: int) -> None:
    if not _MIN_IR_VERSION <= ir_version <= onnx.IR_VERSION:
        raise ExportError(
            f"export: expected an ONNX IR version from {_MIN_IR_VERSION} to {onnx.IR_VERSION}, got {ir_version}"
        )
    # Newer IR versions only add to what a file may say, and this one says nothing that IR 4 could not.
    model.ir_version = ir_version


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
