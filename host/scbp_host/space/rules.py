"""What each operator does to channels: one rule for each kind, over the names of torch's ATen operators.

Whatever has no rule is taken as it stands: the channels that enter it must stay, so it sees what it saw in the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map_only

from scbp_host.space.cost import positions
from scbp_host.space.labels import Labels, broadcast, compressed, full, plain, varying_axes
from scbp_host.space.operations import Operation, labels_of, name_of, tensors_in

_JOINS = frozenset({"cat", "concat", "stack"})
# Fewer groups than these leave too few widths to choose from if only whole groups can go.
_FEW_GROUPS = 4


def convolution(op: Operation) -> Labels:
    """A filter of one group reads every channel of that group and makes one of its own."""
    tensor, weight, groups = op["input"], op["weight"], op["groups"]
    axis = tensor.ndim - weight.ndim + 1
    read, transposed = op.channels("input", axis), "transpose" in op.name or op.arguments.get("transposed", False)
    made, taken = op.axis("weight", int(transposed)), op.axis("weight", int(not transposed))
    if made is None or taken is None or (transposed and groups > 1):
        op.freeze("a convolution whose weight is computed, or a transposed one in groups")
        return plain(tensor.ndim)
    if groups == 1 and op.found.names[id(weight)] not in (op.found.decided or ()):
        op.found.ledger.read(read, taken, op.axis_of("weight", int(not transposed)))
        _keep_heads(op, made)
    else:
        _grouped(op, read.reshape(groups, -1), taken, made.reshape(groups, -1))
    op.found.ledger.tie(made)
    _link_bias(op, made)
    op.found.uses[op.found.names[id(weight)]] += positions(weight, tensor if transposed else op.result)
    op.found.resolutions.setdefault(op.found.names[id(weight)], tuple(op.result.shape[-2:]))
    return op.shape(made, axis, tensor.ndim)


def _keep_heads(op: Operation, made: Labels) -> None:
    if any(f"{op.module}.".startswith(f"{prefix}.") for prefix in op.found.kept):
        op.found.ledger.fix(made)


def _link_bias(op: Operation, channels: Labels) -> None:
    bias = op.axis("bias", 0)
    if bias is not None:
        op.found.ledger.link(channels, bias)


def _grouped(op: Operation, read: Labels, taken: Labels, made: Labels) -> None:
    """Rows of ``read`` and ``made`` are groups.

    Whole groups go, which keeps the channels of a group and with them the arithmetic's efficiency; RegNet's own widths
    are made that way. A depthwise convolution is the case of one channel a group. Where there are too few groups for
    that, each group loses the same channels.
    """
    ledger = op.found.ledger
    ledger.order(read, taken)
    name, decided = op.found.names[id(op["weight"])], op.found.decided
    if (len(read) >= _FEW_GROUPS) if decided is None else (name in decided):
        ledger.link(read[:, :1], read)
        ledger.link(made[:, :1], made)
        ledger.link(read[:, :1], made[:, :1])
        ledger.fix(taken)
        op.found.by_whole_groups.add(name)
    else:
        ledger.link(read, taken)
        ledger.link(made[:1], made)
        ledger.order(read.unsqueeze(2), made.unsqueeze(1))
        op.found.stepped += [taken, made[0]]


def linear(op: Operation) -> Labels:
    """Every output reads every feature of the last axis. Over a map (n, h, w, c) this is a 1x1 convolution."""
    tensor = op["input"]
    read, taken, made = op.channels("input", -1), op.axis("weight", 1), op.axis("weight", 0)
    if made is None or taken is None:
        op.freeze("a linear layer whose weight is computed")
        return plain(tensor.ndim)
    op.found.ledger.read(read, taken, op.axis_of("weight", 1))
    _keep_heads(op, made)
    _link_bias(op, made)
    op.found.uses[op.found.names[id(op["weight"])]] += positions(op["weight"], op.result)
    if tensor.ndim == 4:
        op.found.ledger.tie(made)
        op.found.resolutions.setdefault(op.found.names[id(op["weight"])], tuple(op.result.shape[1:3]))
    return op.shape(made, -1, tensor.ndim)


def channel_norm(op: Operation) -> Labels:
    """Batch and instance normalisation, PReLU: each channel has numbers of its own."""
    given = "self" if op.name == "prelu" else "input"
    own = op.channels(given, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        atoms = op.axis(name, 0)
        # One number for all channels, as PReLU has by default, is nobody's own.
        if atoms is not None and len(atoms) == len(own):
            op.found.ledger.link(own, atoms)
    return op.shape(own, 1, op[given].ndim)


def layer_norm(op: Operation) -> Any:
    """Normalise over the last axis; what a channel becomes depends on the others."""
    tensor, weight = op["input"], op.axis("weight", 0)
    if len(op["normalized_shape"]) != 1 or weight is None:
        return unknown(op, "a LayerNorm without weights, or over more than one axis")
    own = op.channels("input", -1)
    op.found.ledger.link(own, weight)
    _link_bias(op, own)
    op.mix()
    return op.shape(own, -1, tensor.ndim)


def group_norm(op: Operation) -> Any:
    """Normalise over groups of channels: their number stays, so each loses the same channels."""
    tensor, groups = op["input"], op["num_groups"]
    weight = op.axis("weight", 0)
    if weight is None:
        return unknown(op, "a GroupNorm without weights")
    own = op.channels("input", 1)
    op.found.ledger.link(own, weight)
    _link_bias(op, own)
    rows = own.reshape(groups, -1)
    op.found.ledger.link(rows[:1], rows)
    op.mix()
    return op.shape(own, 1, tensor.ndim)


def pointwise(op: Operation) -> Labels:
    """Elements that meet in a sum or a product must be there together."""
    operands = [(tensor.shape, labels_of(op.found, tensor)) for tensor in tensors_in(op.arguments.values())]
    ndim = max(len(shape) for shape, _ in operands)
    aligned = [((1,) * (ndim - len(shape)) + tuple(shape), _raised(labels, ndim)) for shape, labels in operands]
    for (shape, labels), (other_shape, other) in combinations(aligned, 2):
        one, two = broadcast(labels, other)
        both = (one != 0) & (two != 0)
        op.found.ledger.link(one[both], two[both])
        op.found.ledger.fix(two[(one == 0) & (two != 0)] if _meets(shape, other) else plain(1))
        op.found.ledger.fix(one[(two == 0) & (one != 0)] if _meets(other_shape, labels) else plain(1))
    merged = aligned[0][1]
    for _, labels in aligned[1:]:
        one, two = broadcast(merged, labels)
        merged = torch.where(one != 0, one, two)
    return merged


def _meets(shape: tuple[int, ...], labels: Labels) -> bool:
    """Tell whether a tensor of ``shape`` has elements of its own for each channel, not one spread over all of them."""
    return any(shape[axis] > 1 for axis in varying_axes(labels))


def _raised(labels: Labels, ndim: int) -> Labels:
    return labels.reshape((1,) * (ndim - labels.ndim) + tuple(labels.shape))


def spatial(op: Operation) -> list[Labels]:
    """Pooling, resizing and padding over the last two axes: a channel stays itself."""
    tensor = tensors_in(op.arguments.values())[0]
    labels = op.found.ledger.along(labels_of(op.found, tensor), range(tensor.ndim - 2))
    return [labels for _ in tensors_in([op.result])]


def pad(op: Operation) -> Any:
    """Padding of height and width is spatial; padding of channels adds some that cannot be removed."""
    if len(op["pad"]) <= 4 <= op["self"].ndim + 1:
        return spatial(op)
    if op.name == "pad" and op["mode"] != "constant":
        return unknown(op)
    padded = torch.nn.functional.pad(full(op.labels("self"), op["self"].shape), op["pad"])
    return compressed(padded)


def reduction(op: Operation) -> Any:
    """A sum over height and width leaves channels alone; one over channels makes something that belongs to none.

    Where the labels change along other axes too, as with attention over branches, what is summed goes together.
    """
    if "other" in op.arguments:
        return pointwise(op)
    tensor, labels = op["self"], op.labels("self")
    axes = _reduced_axes(op, tensor.ndim)
    if labels.any() and not set(varying_axes(labels)) - {axis - tensor.ndim for axis in axes}:
        op.mix()
        labels = plain(tensor.ndim)
    labels = op.found.ledger.along(labels, [axis for axis in range(tensor.ndim) if axis not in axes])
    results = tensors_in([op.result])
    if results[0].ndim < tensor.ndim:
        labels = labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in axes])
    return [labels for _ in results]


def _reduced_axes(op: Operation, ndim: int) -> set[int]:
    given = op.arguments.get("dim")
    axes = range(ndim) if given is None or given == [] else given if isinstance(given, list | tuple) else [given]
    return {axis % ndim for axis in axes}


def softmax(op: Operation) -> Labels:
    """Normalise along one axis: over channels they depend on one another, over branches they go together."""
    tensor, labels = op["self"], op.labels("self")
    axis = op["dim"] % tensor.ndim
    if axis - tensor.ndim not in varying_axes(labels):
        return labels
    if varying_axes(labels) == [axis - tensor.ndim]:
        op.mix()
        return labels
    return op.found.ledger.along(labels, [own for own in range(tensor.ndim) if own != axis])


def layout(op: Operation) -> Any:
    """Whatever moves elements about moves their labels the same way; a part of the channels ties it to the rest."""
    args, kwargs = tree_map_only(
        torch.Tensor, lambda tensor: full(labels_of(op.found, tensor), tensor.shape), (op.args, dict(op.kwargs))
    )
    # Labels are not laid out in memory as the tensor is, and a view of them may need a copy.
    move = torch.ops.aten.reshape if op.name in ("view", "_unsafe_view") else op.call
    results = [compressed(labels) for labels in tensors_in([move(*args, **kwargs)])]
    if op.name not in _JOINS:
        before = labels_of(op.found, tensors_in(op.args)[0])
        if any(_distinct(labels) < _distinct(before) for labels in results):
            op.found.ledger.tie(before)
    return results


def _distinct(labels: Labels) -> int:
    return len(np.unique(labels.numpy()))


def unknown(op: Operation, reason: str = "") -> list[Labels]:
    """Keep what enters; what comes out carries no channels."""
    op.freeze(reason or f"what {op.name} does to channels is not known")
    return [plain(tensor.ndim) for tensor in tensors_in([op.result])]


Rule = Callable[[Operation], Any]

_RULES: dict[Rule, str] = {
    convolution: "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d",
    linear: "linear",
    channel_norm: "batch_norm instance_norm prelu",
    layer_norm: "layer_norm",
    group_norm: "group_norm",
    pointwise: "hardswish dropout alpha_dropout feature_dropout elu selu celu hardtanh relu6 leaky_relu clone "
    "contiguous detach alias _to_copy to copy clamp threshold softplus",
    spatial: "max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d reflection_pad2d replication_pad2d lp_pool2d",
    pad: "pad constant_pad_nd",
    reduction: "mean sum amax amin max min var std logsumexp",
    softmax: "softmax log_softmax _softmax _log_softmax",
    layout: "view _unsafe_view reshape flatten unflatten permute transpose t swapaxes movedim unsqueeze squeeze expand "
    "slice select narrow split split_with_sizes chunk tensor_split unbind pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle flip roll repeat tile cat concat stack view_as expand_as",
}
_BY_NAME: dict[str, Rule] = {name: rule for rule, names in _RULES.items() for name in names.split()}


def rule_of(call: Any) -> Rule | None:
    """Return the rule of an ATen operator, None where there is none."""
    rule = _BY_NAME.get(name_of(call))
    return pointwise if rule is None and torch.Tag.pointwise in call.tags else rule
