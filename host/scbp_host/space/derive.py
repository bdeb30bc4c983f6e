"""From a candidate to a module: exact structured pruning of the seed, checked, and the way back from disk."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.coupling import pruning_group, trace, whole_group
from scbp_host.space.importance import Scores, score_group
from scbp_host.space.seeds import build_seed, check_forward, load_weights

CANDIDATE_FILE = "candidate.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Cut:
    """Which output channels of ``conv`` go, with all that is coupled to them; ``layers`` then have ``width`` left."""

    conv: nn.Conv2d
    layers: list[nn.Conv2d]
    channels: list[int]
    width: int


def derive(candidate: Candidate, source: nn.Module | None = None, scores: Scores | None = None) -> nn.Module:
    """Build the candidate's network: the seed with exactly the candidate's channels left in every coupled group.

    Args:
        candidate: which widths.
        source: a trained seed; the result inherits its weights, and the least important channels of every coupled
            group go. It stays as it is. None: only the structure matters, weights are random.
        scores: how important each channel is, see :func:`scbp_host.space.importance.channel_scores`; of equal ones
            the first goes. None ranks by L1 norm.

    Returns:
        a module in eval mode on the CPU.

    Raises:
        ModelError: a group is unknown or did not come out at its width, or the result does not run. Never a wrong one.
    """
    spec = candidate.seed
    module = build_seed(spec, random_seed=0) if source is None else copy.deepcopy(source).cpu().eval()
    graph = trace(module, spec.input_shape)
    cuts = plan_cuts(graph, module, candidate, by_importance=source is not None, scores=scores)
    apply_cuts(graph, cuts)
    verify(module, candidate, cuts)
    return module


def plan_cuts(
    graph: Any, module: nn.Module, candidate: Candidate, *, by_importance: bool, scores: Scores | None = None
) -> list[Cut]:
    """Choose the channels to remove from every group of ``module``, whose DepGraph is ``graph``.

    All choices are made on the whole network: pruning one group changes its neighbours' norms.
    """

    def scores_of(name: str) -> NDArray[np.float64] | None:
        if not by_importance:
            return None
        return score_group(graph, _conv(module, name)) if scores is None else scores[name]

    return [_plan(graph, _conv(module, name), width, scores_of(name)) for name, width in candidate.widths]


def apply_cuts(graph: Any, cuts: list[Cut]) -> None:
    """Remove the chosen channels, and all that is coupled to them, in place."""
    for cut in cuts:
        if cut.channels:
            pruning_group(graph, cut.conv, cut.channels).prune()


def save_candidate(folder: Path, candidate: Candidate, module: nn.Module) -> None:
    """Write ``candidate.json`` and ``weights.safetensors``, from which :func:`rebuild` makes the same module."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE)
    (folder / CANDIDATE_FILE).write_text(json.dumps(candidate.to_json(), indent=2) + "\n", encoding="utf-8")


def load_candidate(path: Path) -> Candidate:
    """Read a ``candidate.json``.

    Raises:
        ModelError: unreadable, or its ``structure_id`` is not that of its seed and widths.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        candidate, recorded_id = Candidate.from_json(data), data["structure_id"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a readable candidate.json ({type(error).__name__}: {error})") from error
    if candidate.structure_id != recorded_id:
        raise ModelError(f"{path}: structure_id is {recorded_id}, but seed and widths give {candidate.structure_id}")
    return candidate


def rebuild(candidate_json: Path, weights: Path) -> nn.Module:
    """Rebuild a trained module from its two files alone, in eval mode on the CPU.

    Raises:
        ModelError: a file is unreadable, or the weights are not this candidate's.
    """
    module = derive(load_candidate(candidate_json))
    load_weights(module, weights)
    return module


def _conv(module: nn.Module, name: str) -> nn.Conv2d:
    try:
        conv = module.get_submodule(name)
    except AttributeError as error:
        raise ModelError(f"no layer {name!r} in {type(module).__name__}") from error
    if not isinstance(conv, nn.Conv2d):
        raise ModelError(f"layer {name!r}: expected a Conv2d, got {type(conv).__name__}")
    return conv


def _plan(graph: Any, conv: nn.Conv2d, width: int, scores: NDArray[np.float64] | None) -> Cut:
    if not 1 <= width <= conv.out_channels:
        name = graph._module2name[conv]
        raise ModelError(f"layer {name!r}: expected a width from 1 to {conv.out_channels}, got {width}")
    layers = [
        dep.target.module
        for dep, _ in whole_group(graph, conv)
        if isinstance(dep.target.module, nn.Conv2d) and graph.is_out_channel_pruning_fn(dep.handler)
    ]
    return Cut(conv, layers, _least(conv.out_channels - width, conv.out_channels, scores), width)


def _least(count: int, channels: int, scores: NDArray[np.float64] | None) -> list[int]:
    """Return the ``count`` least important channels, sorted; without scores, the last ones."""
    # A stable sort makes equally important channels go in the same order on every machine.
    ranked = np.arange(channels)[::-1] if scores is None else np.argsort(scores, kind="stable")
    return sorted(int(channel) for channel in ranked[:count])


def verify(module: nn.Module, candidate: Candidate, cuts: list[Cut]) -> None:
    """Raise ModelError unless every layer came out at its width and ``module`` runs."""
    name = f"{candidate.seed.factory} {candidate.structure_id}"
    layer_names = {layer: layer_name for layer_name, layer in module.named_modules()}
    for cut in cuts:
        for layer in cut.layers:
            if layer.out_channels != cut.width:
                came_out = f"layer {layer_names[layer]!r} came out at {layer.out_channels} channels"
                raise ModelError(f"model {name!r}: {came_out}, expected {cut.width}")
    check_forward(module, candidate.seed, name)
