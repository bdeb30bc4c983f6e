"""What a GPU makes of trainings: one after the other, several at once, and through torch.compile.

python tests/bench/gpu_training.py [--quick] --json docs/bench/gpu_training.json

Without a CUDA device it says so, writes {"gpu": null} and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.events import ignore
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.candidates import CandidateTrainer, OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.space import seed_candidate
from scbp_host.stages.task import load_run_task
from scbp_host.stages.training_pool import TrainingPool
from scbp_host.training.placement import device_name, training_device

WORKERS = (2, 4, 8)
RATIOS = (0.25, 0.5)


def main() -> None:
    """Train the same candidates in each way and write how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="4 candidates of 2 epochs instead of 16 of 20")
    arguments = parser.parse_args()
    device = training_device()
    result: dict[str, Any] = {"gpu": None}
    if device.type == "cuda":
        result = {"gpu": device_name(device), **measure(*((4, 2) if arguments.quick else (16, 20)))}
    else:
        print("no CUDA device here: nothing to measure")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(count: int, epochs: int) -> dict[str, Any]:
    """Return seconds for ``count`` candidates of ``epochs`` each, by the way they were trained."""
    ways = {"one after the other": {}, "compiled": {"compile": True}}
    ways |= {f"{workers} at once": {"train_workers": workers} for workers in WORKERS}
    config = RunConfig(epochs=epochs)
    seconds = {name: _seconds(config.model_copy(update=own), count) for name, own in ways.items()}
    first = seconds["one after the other"]
    return {
        "candidates": count,
        "epochs": epochs,
        "seconds": seconds,
        "speed_up": {name: first / own for name, own in seconds.items()},
    }


def _seconds(config: RunConfig, count: int) -> float:
    task = load_run_task(config)
    spec = seed_spec(config.model, len(task.class_names), config.input_shape)
    space = SearchSpace.uniform(spec, bin_by_stage(spec), RATIOS, 8)
    seed, module = seed_candidate(space), build_seed(spec, 0)
    candidates = list(space.candidates())[:count]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Artifacts(Path(folder))
        artifacts.save_module(seed, module)
        trainer = CandidateTrainer(config, task, module, Inheritance(config, task, spec, module))
        started = time.monotonic()
        if config.train_workers > 1:
            _pool(config, artifacts, seed).advance(candidates, None, _quiet)
        for candidate in candidates:
            trained = trainer.train(candidate, artifacts.checkpoint(candidate.structure_id), _quiet(candidate))
            assert not isinstance(trained, Failure), trained
        return time.monotonic() - started


def _pool(config: RunConfig, artifacts: Artifacts, seed: Candidate) -> TrainingPool:
    unused: dict[str, Any] = dict.fromkeys(("profile", "client", "task", "ledger", "settings"))
    return TrainingPool(RunContext(config=config, artifacts=artifacts, spec=seed.seed, listen=ignore, **unused), seed)


def _quiet(_candidate: Candidate) -> OnEpoch:
    return lambda _epoch, _epochs, _top1: None


if __name__ == "__main__":
    main()
