"""One call of an operator, and what all calls of a forward pass have shown so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from scbp_host.space.labels import Axis, Labels, Ledger, plain


@dataclass
class Findings:
    """What the rules have found out so far.

    Attributes:
        ledger: of atoms.
        labels: of the tensors seen, by ``id``; the tensors are kept alive, or an id would mean two of them.
        names: names in the state dict of parameters and buffers, by ``id``.
        kept: names of modules whose own widths stay.
        resolutions: (height, width) that each convolution puts out, by the name of its weight, in forward order.
        uses: how often one image multiplies by each entry of a weight, by its name: the positions it is applied at.
        by_whole_groups: names of the weights of grouped convolutions that lose whole groups.
        decided: the same, where it has been decided on the seed; None lets the number of groups decide.
        stepped: for each grouped convolution that loses channels of every group, the atoms of one group's channels.
        frozen: for each module that holds channels fast, why.
        mixers: modules that compute over channels together, such as a LayerNorm: what they put out for a channel
            depends on which others there are.
    """

    ledger: Ledger
    names: Mapping[int, str]
    kept: tuple[str, ...] = ()
    decided: frozenset[str] | None = None
    labels: dict[int, tuple[torch.Tensor, Labels]] = field(default_factory=dict)
    resolutions: dict[str, tuple[int, int]] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    by_whole_groups: set[str] = field(default_factory=set)
    stepped: list[Labels] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)
    mixers: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Operation:
    """One call of an operator.

    Attributes:
        found: where to look labels up, and where to write down what follows from this call.
        module: name of the module that calls.
        call: the operator.
        args: positional arguments.
        kwargs: arguments by name.
        result: what it returned.
    """

    found: Findings
    module: str
    call: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        """Every argument by its name in the operator's schema, defaults included."""
        schema = self.call._schema.arguments
        positional = {own.name: value for own, value in zip(schema, self.args, strict=False)}
        return {own.name: own.default_value for own in schema} | positional | dict(self.kwargs)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def name(self) -> str:
        """The operator without namespace, overload, and the underscore of its in-place form."""
        return name_of(self.call)

    def labels(self, name: str) -> Labels:
        """Return the labels of an argument."""
        return labels_of(self.found, self.arguments[name])

    def channels(self, name: str, axis: int) -> Labels:
        """Return the atoms along one axis of an argument, shape (n,); whatever else differs is linked."""
        tensor = self.arguments[name]
        along = self.found.ledger.along(self.labels(name), [axis % tensor.ndim])
        return along.reshape(-1).expand(tensor.shape[axis])

    def axis(self, name: str, axis: int) -> Labels | None:
        """Return the atoms of one axis of an argument that is a parameter or buffer; None if it is none."""
        tensor = self.arguments.get(name)
        if not isinstance(tensor, torch.Tensor) or id(tensor) not in self.found.names:
            return None
        return self.found.ledger.axis(self.found.names[id(tensor)], axis, tensor.shape[axis])

    def axis_of(self, name: str, axis: int) -> Axis:
        """Return how the ledger calls one axis of an argument that is a parameter or buffer."""
        return self.found.names[id(self.arguments[name])], axis

    def shape(self, atoms: Labels, axis: int, ndim: int) -> Labels:
        """Return labels of rank ``ndim`` with these atoms along one axis."""
        return atoms.reshape([-1 if own == axis % ndim else 1 for own in range(ndim)])

    def freeze(self, reason: str) -> None:
        """Keep every channel that enters this call."""
        for tensor in tensors_in(self.arguments.values()):
            labels = labels_of(self.found, tensor)
            if bool(labels.any()):
                self.found.frozen.setdefault(self.module, reason)
            self.found.ledger.fix(labels)

    def mix(self) -> None:
        """Note that this call computes over channels together."""
        if self.module not in self.found.mixers:
            self.found.mixers.append(self.module)


def name_of(call: Any) -> str:
    """Return an operator's name without namespace, overload, and the underscore of its in-place form."""
    name: str = call._schema.name
    return name.partition("::")[2].rstrip("_")


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Return the tensors among arguments or results, those in lists included."""
    return [value for value in tree_leaves(list(values)) if isinstance(value, torch.Tensor)]


def labels_of(found: Findings, tensor: torch.Tensor) -> Labels:
    """Return a tensor's labels; a parameter or buffer has some where only one of its axes is longer than 1."""
    if id(tensor) in found.labels:
        return found.labels[id(tensor)][1]
    long = [axis for axis, size in enumerate(tensor.shape) if size > 1]
    if id(tensor) in found.names and len(long) == 1:
        atoms = found.ledger.axis(found.names[id(tensor)], long[0], tensor.shape[long[0]])
        return atoms.reshape(tensor.shape)
    return plain(tensor.ndim)
