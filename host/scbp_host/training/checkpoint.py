"""A training's state between two epochs, in one file: tensors as safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

_log = logging.getLogger(__name__)
_FACTS = "facts"


@dataclass(frozen=True)
class Checkpoint:
    """What was written.

    Attributes:
        tensors: by name, on the CPU.
        facts: everything that is JSON.
    """

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names begin with ``name/``, without it."""
        prefix = f"{name}/"
        return {own.removeprefix(prefix): tensor for own, tensor in self.tensors.items() if own.startswith(prefix)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``path`` whole or not at all: a process that is killed meanwhile leaves the one before."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    content = save(tensors, metadata={_FACTS: json.dumps(dict(checkpoint.facts))})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """Read ``path``; None where there is none, or one of another training.

    A checkpoint only saves time, so one that cannot be used is not an error: the log says so, and training starts anew.

    Args:
        path: the file.
        identity: what the writer's ``facts["identity"]`` must equal.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        _log.warning("%s: not a readable checkpoint (%s); this training starts anew", path, error)
        return None
    if facts.get("identity") != dict(identity):
        _log.warning("%s: the checkpoint of another training; this one starts anew", path)
        return None
    return Checkpoint(tensors, facts)


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return an optimizer's tensors, named ``position/key``, and its parameter groups as JSON values."""
    state = optimizer.state_dict()
    tensors = {f"{at}/{key}": value for at, own in state["state"].items() for key, value in own.items()}
    return tensors, state["param_groups"]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], groups: list[dict[str, Any]]
) -> None:
    """Put back what :func:`optimizer_state` returned; every tensor in the memory format of its parameter."""
    parameters: list[nn.Parameter] = [own for group in optimizer.param_groups for own in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        at, _, key = name.partition("/")
        like = parameters[int(at)]
        fitting = torch.empty_like(like, requires_grad=False).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(at), {})[key] = fitting
    # JSON made lists of the tuples.
    groups = [{key: tuple(own) if key == "betas" else own for key, own in group.items()} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
