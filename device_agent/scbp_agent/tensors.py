"""Arrays from blobs, as batch-1 inputs of a model, and its outputs back. Needs numpy, so only workers use it."""

import base64
from typing import Any, Dict, List, Optional, Tuple

from scbp_agent import wire
from scbp_agent.runtimes import base, libraries

# numpy's arrays; the agent's core must import without numpy.
Array = Any

_NOISE_SEED = 20_26
_NOISE_ENTRIES = 8


def read(tensor: wire.TensorRef, files: Dict[str, str]) -> Array:
    """Return the array of ``tensor.shape``, mapped from its blob's file.

    Raises:
        AgentFailure: BAD_REQUEST for a dtype that is none, or a file of another length than the shape asks for.
    """
    numpy = libraries.require_numpy()
    try:
        dtype = numpy.dtype(tensor.dtype).newbyteorder("<")
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiu":
        raise wire.AgentFailure(
            wire.BAD_REQUEST, "dtype: expected a numeric one such as float32, got %r" % tensor.dtype
        )
    array = numpy.fromfile(files[tensor.sha256], dtype=dtype)
    wanted = 1
    for size in tensor.shape:
        wanted *= size
    if array.size != wanted:
        message = "tensor %s holds %d values, its shape %r asks for %d" % (
            tensor.sha256[:12],
            array.size,
            list(tensor.shape),
            wanted,
        )
        raise wire.AgentFailure(wire.BAD_REQUEST, message)
    return array.reshape(tensor.shape)


def entries(batch: Optional[Array], model: base.Model) -> List[Array]:
    """Return the batch's entries as arrays of shape (1, ...) that fit the model; without a batch, seeded noise.

    Raises:
        AgentFailure: BAD_MODEL where the model takes another shape or dtype, or more than one image at a time.
    """
    if batch is None:
        return _noise(model)
    given = (1,) + tuple(batch.shape[1:])
    fits = len(given) == len(model.input_shape) and all(
        want in (None, have) for want, have in zip(model.input_shape, given)
    )
    if not fits or batch.dtype != model.dtype:
        takes = "%s %s" % (model.dtype, list(model.input_shape))
        message = "the model takes %s, the inputs are %s %s" % (takes, batch.dtype, list(given))
        raise wire.AgentFailure(wire.BAD_MODEL, message, "export it for batch size 1 and this input shape")
    return [batch[index : index + 1] for index in range(len(batch))]


def _noise(model: base.Model) -> List[Array]:
    numpy = libraries.require_numpy()
    shape = (1,) + tuple(model.input_shape[1:])
    if model.input_shape[0] not in (1, None) or None in shape:
        message = "cannot make an input of shape %r by itself" % (list(model.input_shape),)
        raise wire.AgentFailure(wire.BAD_MODEL, message, "export it for batch size 1 with fixed sizes, or send inputs")
    random = numpy.random.RandomState(_NOISE_SEED)
    return [random.standard_normal(shape).astype(model.dtype) for _ in range(_NOISE_ENTRIES)]


def first_outputs(model: base.Model, inputs: List[Array]) -> Array:
    """Return the model's first output for every input as one float32 array of shape (n_inputs, ...).

    Raises:
        AgentFailure: BAD_MODEL for outputs that are not finite, or not one entry for one input.
    """
    numpy = libraries.require_numpy()
    outputs = [model.run(array)[0] for array in inputs]
    if outputs[0].shape[:1] != (1,):
        message = "the first output has shape %r; expected one entry for one input" % (list(outputs[0].shape),)
        raise wire.AgentFailure(wire.BAD_MODEL, message)
    joined = numpy.concatenate(outputs).astype("<f4")
    if not numpy.isfinite(joined).all():
        raise wire.AgentFailure(wire.BAD_MODEL, "outputs are not finite", "check the export, or its precision")
    return joined


def compare(outputs: Array, expected: Optional[Array]) -> Tuple[Optional[float], Optional[float]]:
    """Return the largest |output - expected| and the largest |expected|; (None, None) without ``expected``.

    Raises:
        AgentFailure: BAD_REQUEST where ``expected`` is of another shape, or not finite itself.
    """
    if expected is None:
        return None, None
    numpy = libraries.require_numpy()
    if expected.shape != outputs.shape or not numpy.isfinite(expected).all():
        shapes = "%r, the outputs %r" % (list(expected.shape), list(outputs.shape))
        raise wire.AgentFailure(wire.BAD_REQUEST, "expected: finite values of the outputs' shape; it has %s" % shapes)
    difference = numpy.abs(outputs.astype("f8") - expected)
    return float(difference.max()), float(numpy.abs(expected).max())


def to_base64(array: Array) -> str:
    """Return the array's little-endian C-order bytes."""
    return base64.b64encode(array.tobytes()).decode("ascii")
