"""The networks a space can start from: torchvision's by name, or a factory of the user's own."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from scbp_host.domain.candidate import SeedSpec
from scbp_host.errors import ModelError, UnknownNameError, UsageError
from scbp_host.space.heads import DENSE

# The type that packages above pass on, so that they need not know torch.
Module = nn.Module

_FACTORY_HINT = "give a torchvision classifier's name, or package.module:factory that takes num_classes"
# Auxiliary classifiers only serve training from scratch; the truncated normal that goes with them takes half a minute.
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"googlenet": _WITHOUT_AUXILIARY, "inception_v3": _WITHOUT_AUXILIARY}


def seed_names() -> list[str]:
    """Return the names of torchvision's image classifiers, and of :data:`scbp_host.space.heads.DENSE`, sorted."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return sorted([*names, *DENSE])


def seed_spec(
    factory: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    kwargs: Mapping[str, Any] | None = None,
) -> SeedSpec:
    """Describe a seed, its name checked.

    Args:
        factory: one of :func:`seed_names`, or ``package.module:factory``.
        num_classes: outputs of the classifier, at least 2.
        input_shape: (channels, height, width) of one image.
        kwargs: further keyword arguments of the factory; values must be JSON's.

    Raises:
        UnknownNameError: no such factory.
        UsageError: fewer than two classes, or a shape that is not three positive sizes.
    """
    if num_classes < 2:
        raise UsageError(f"num_classes: expected at least 2, got {num_classes}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UsageError(f"input_shape: expected (channels, height, width), each positive, got {input_shape}")
    _resolve(factory)
    return SeedSpec(factory, num_classes, input_shape, tuple(sorted((kwargs or {}).items())))


def build_seed(spec: SeedSpec, random_seed: int | None = None) -> nn.Module:
    """Build the seed with fresh weights, in eval mode on the CPU.

    Args:
        spec: what to build.
        random_seed: seeds the initial weights and leaves the global generator as it was; None draws from the
            global generator.

    Raises:
        UnknownNameError: no such factory.
        ModelError: the factory fails, or its module does not map (n, *input_shape) to one tensor (n, ...).
    """
    factory = _resolve(spec.factory)
    with torch.random.fork_rng(devices=[], enabled=random_seed is not None):
        if random_seed is not None:
            torch.manual_seed(random_seed)
        module = _call(factory, spec)
    module.eval()
    check_forward(module, spec, spec.factory)
    return module


def check_forward(module: nn.Module, spec: SeedSpec, name: str) -> None:
    """Run one image; raise ModelError naming ``name`` unless one tensor comes out, the image its first axis."""
    if getattr(module, "aux_logits", False):
        raise ModelError(f"model {name!r}: auxiliary classifiers are not supported yet", "pass aux_logits=False")
    try:
        with torch.inference_mode():
            outputs = module(torch.zeros(1, *spec.input_shape))
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        raise ModelError(f"model {name!r} cannot run an input of shape {spec.input_shape}: {_line(error)}") from error
    if not isinstance(outputs, torch.Tensor) or outputs.shape[:1] != (1,):
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ModelError(f"model {name!r}: expected a tensor of shape (1, ...) for one image, got {found}")


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors state dict into ``module``, every tensor and no other.

    Raises:
        ModelError: the file is unreadable, or its names or shapes are not the module's.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights {path}: not a readable safetensors file ({_line(error)})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if problem := _mismatch(expected, found):
        raise ModelError(f"weights {path} are of another model: {problem}")
    # Not load_state_dict: some modules of torchvision want a version there that safetensors does not keep.
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(state[name])


def _mismatch(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    for name, shape in expected.items():
        if name not in found:
            return f"tensor {name!r} is missing"
        if found[name] != shape:
            return f"tensor {name!r} has shape {found[name]}, expected {shape}"
    return next((f"tensor {name!r} is not part of the model" for name in found if name not in expected), "")


def _resolve(factory: str) -> Callable[..., Any]:
    if ":" in factory:
        return _import_factory(factory)
    if factory not in seed_names():
        raise UnknownNameError("model", factory, seed_names(), _FACTORY_HINT)
    builder: Callable[..., Any] = DENSE.get(factory) or torchvision.models.get_model_builder(factory)
    return functools.partial(builder, **_DEFAULTS.get(factory, {}))


def _import_factory(factory: str) -> Callable[..., Any]:
    module_name, _, attribute = factory.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"model {factory!r} cannot be imported: {_line(error)}", _FACTORY_HINT) from error
    if not callable(found):
        raise ModelError(f"model {factory!r}: expected a callable, got {type(found).__name__}", _FACTORY_HINT)
    builder: Callable[..., Any] = found
    return builder


def _call(factory: Callable[..., Any], spec: SeedSpec) -> nn.Module:
    try:
        module = factory(num_classes=spec.num_classes, **dict(spec.kwargs))
    except Exception as error:  # the factory is the user's code and may raise anything
        raise ModelError(f"model {spec.factory!r} cannot be built: {_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"model {spec.factory!r}: expected a torch.nn.Module, got {type(module).__name__}")
    return module


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
