"""From a candidate to a module: exact structured pruning of the seed, checked, and the way back from disk."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from scbp_host.domain.candidate import Candidate
from scbp_host.errors import ModelError
from scbp_host.space.importance import Scores
from scbp_host.space.seeds import load_weights
from scbp_host.space.slices import carve

CANDIDATE_FILE = "candidate.json"
WEIGHTS_FILE = "weights.safetensors"


def derive(candidate: Candidate, source: nn.Module | None = None, scores: Scores | None = None) -> nn.Module:
    """Build the candidate's network: the seed with exactly the candidate's channels left in every coupled group.

    Args:
        candidate: which widths; a group that it does not name keeps the seed's.
        source: a trained seed; the result inherits its weights, and the least important channels of every coupled
            group go. It stays as it is. None: only the structure matters, weights are random.
        scores: how important each channel is, see :func:`scbp_host.space.importance.channel_scores`; of equal ones, and
            of a group that is left out, the first stay. None ranks by L1 norm.

    Returns:
        a module in eval mode on the CPU.

    Raises:
        ModelError: a group is unknown, a width is impossible, or the network cannot be narrowed to it: names the layer.
            Never a wrong one.
    """
    return carve(candidate, source, scores).module


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
