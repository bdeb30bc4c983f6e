"""Follow every channel through one forward pass over shapes alone: meta tensors, no values, no arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from scbp_host.errors import ModelError
from scbp_host.space.labels import Ledger
from scbp_host.space.layers import replaced, tensors_of
from scbp_host.space.operations import Findings, Operation, labels_of, tensors_in
from scbp_host.space.rules import rule_of, unknown

_META = torch.device("meta")


@dataclass(frozen=True)
class Trace:
    """What one forward pass shows.

    Attributes:
        found: by the operators' rules.
        outputs: shapes of what the network puts out.
    """

    found: Findings
    outputs: tuple[tuple[int, ...], ...]


def trace(module: nn.Module, input_shape: tuple[int, int, int], by_whole_groups: frozenset[str] | None = None) -> Trace:
    """Run ``module`` in eval mode over the shape of one image, and follow the channels.

    Args:
        module: anywhere; left as it was.
        input_shape: (channels, height, width) of one image.
        by_whole_groups: of a narrower network, what was found for its seed; None for a seed.

    Raises:
        ModelError: the forward pass fails; names the layer.
    """
    empty = {name: torch.empty_like(tensor, device=_META) for name, tensor in tensors_of(module).items()}
    shapes = replaced(module, empty).eval()
    found = Findings(
        Ledger(), {id(tensor): name for name, tensor in tensors_of(shapes).items()}, _kept(module), by_whole_groups
    )
    tracer = _Tracer(found)
    try:
        with torch.inference_mode(), tracer.follow(shapes), tracer:
            outputs = shapes(torch.zeros(1, *input_shape, device=_META))
    except Exception as error:  # the forward pass is the user's code and may raise anything
        raise ModelError(
            f"{type(module).__name__}: layer {tracer.module!r} cannot run an input of shape {input_shape}: "
            f"{type(error).__name__}: {_line(error)}"
        ) from error
    for tensor in tensors_in([outputs]):
        found.ledger.fix(labels_of(found, tensor))
    return Trace(found, tuple(tuple(tensor.shape) for tensor in tensors_in([outputs])))


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Applies a rule to every operator that is called."""

    def __init__(self, found: Findings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found
        self.module = ""

    @contextmanager
    def follow(self, module: nn.Module) -> Iterator[None]:
        """Know the name of the layer that runs; after an error, of the layer that failed."""
        hooks, outer = [], []
        for name, layer in module.named_modules():

            def enter(_layer: nn.Module, _inputs: Any, name: str = name) -> None:
                outer.append(self.module)
                self.module = name

            def leave(_layer: nn.Module, _inputs: Any, _output: Any) -> None:
                self.module = outer.pop()

            hooks += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        rule = rule_of(func)
        if rule is None:
            with self:
                simpler = func.decompose(*args, **kwargs)
            if simpler is not NotImplemented:
                return simpler
        result = func(*args, **kwargs)
        if tensors_in([result]) and self._carries_channels([*args, *kwargs.values()]):
            self._label(result, (rule or unknown)(Operation(self.found, self.module, func, args, kwargs, result)))
        return result

    def _carries_channels(self, values: list[Any]) -> bool:
        return any(id(own) in self.found.labels or id(own) in self.found.names for own in tensors_in(values))

    def _label(self, result: Any, labels: Any) -> None:
        each = labels if isinstance(labels, list) else [labels]
        for tensor, own in zip(tensors_in([result]), each, strict=True):
            self.found.labels[id(tensor)] = (tensor, own)


def _kept(module: nn.Module) -> tuple[str, ...]:
    return tuple(getattr(module, "kept_heads", ()))


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"
