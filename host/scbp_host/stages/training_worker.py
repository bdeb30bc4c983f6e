"""One training in a process of its own: the job comes as a line of JSON on stdin, epochs go as lines of JSON to stdout.

What comes of it is the checkpoint: whoever asked goes on from there. When stdin ends, so does the worker.

Run as ``python -m scbp_host.stages.training_worker``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.space.derive import CANDIDATE_FILE, WEIGHTS_FILE, rebuild
from scbp_host.stages.candidates import CandidateTrainer
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.task import load_run_task


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        config: the run's.
        candidate: which to train.
        seed_folder: where the trained seed's candidate.json and weights.safetensors are.
        checkpoint: where the training keeps its state.
        until: stop after this many epochs; None trains to the end.
    """

    config: RunConfig
    candidate: Candidate
    seed_folder: Path
    checkpoint: Path
    until: int | None

    def to_line(self) -> str:
        """Return the line that :meth:`from_line` reads."""
        own = {"config": self.config.model_dump(mode="json"), "candidate": self.candidate.to_json()}
        files = {"seed_folder": str(self.seed_folder.absolute()), "checkpoint": str(self.checkpoint.absolute())}
        return json.dumps({**own, **files, "until": self.until}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        """Rebuild from :meth:`to_line`'s form."""
        data = json.loads(line)
        candidate, config = Candidate.from_json(data["candidate"]), RunConfig.model_validate(data["config"])
        return cls(config, candidate, Path(data["seed_folder"]), Path(data["checkpoint"]), data["until"])


@dataclass(frozen=True)
class Epoch:
    """What a worker tells after each epoch."""

    epoch: int
    epochs: int
    val_top1: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Epoch:
        """Rebuild from a line's JSON."""
        return cls(int(data["epoch"]), int(data["epochs"]), float(data["val_top1"]))


def work(job: Job, wire: TextIO) -> None:
    """Do the job, telling ``wire`` of each epoch."""

    def on_epoch(epoch: int, epochs: int, val_top1: float) -> None:
        wire.write(json.dumps(asdict(Epoch(epoch, epochs, val_top1))) + "\n")
        wire.flush()

    task = load_run_task(job.config)
    source = rebuild(job.seed_folder / CANDIDATE_FILE, job.seed_folder / WEIGHTS_FILE)
    inheritance = Inheritance(job.config, task, job.candidate.seed, source)
    trainer = CandidateTrainer(job.config, task, source, inheritance)
    # A failure is the caller's to find: it goes on from the checkpoint, and comes to the same.
    trainer.train(job.candidate, job.checkpoint, on_epoch, job.until)


def main() -> None:
    """Read the job, and do it."""
    # The wire is stdout's alone: what a library prints goes to stderr.
    wire, sys.stdout = sys.stdout, sys.stderr
    job = Job.from_line(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    work(job, wire)


def _end_with_stdin() -> None:
    # Not sys.stdin.read(): a thread that waits with its lock held stops the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
