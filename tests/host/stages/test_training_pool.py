"""Trainings in processes of their own, real ones: they come to what a training in this process comes to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.outcome import Failure
from scbp_host.events import Event, Warned
from scbp_host.space.derive import save_candidate
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.stages import training_pool
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.candidates import CandidateTrainer, OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.task import load_run_task
from scbp_host.stages.training_pool import TrainingPool
from scbp_host.stages.training_worker import Job

SHAPE = (1, 16, 16)
CONFIG = RunConfig(model="tiny_seed:factory", input_shape=SHAPE, epochs=3, train_workers=2)
WIDTHS = (8, 12, 16)


class Interrupted(Exception):
    """Somebody pulled the plug."""


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> SeedSpec:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "integration")
    return seed_spec("tiny_seed:factory", 10, SHAPE)


@pytest.fixture
def seed(spec: SeedSpec) -> tuple[Candidate, Module]:
    return Candidate(spec, (1.0, 1.0), (("stem.0", 16), ("down.0", 32))), build_seed(spec, 0)


@pytest.fixture
def candidates(spec: SeedSpec) -> list[Candidate]:
    return [Candidate(spec, (1.0, own / 32), (("stem.0", 16), ("down.0", own))) for own in WIDTHS]


class Run:
    """A run's folder, its pool, and what was heard."""

    def __init__(self, folder: Path, seed: tuple[Candidate, Module], *, saved: bool = True) -> None:
        self.artifacts, self.heard, self.warned = Artifacts(folder), dict[str, list[int]](), list[str]()
        self.seed, self.task = seed, load_run_task(CONFIG)
        if saved:
            save_candidate(self.artifacts.of(seed[0].structure_id), *seed)
        missing = dict.fromkeys(("profile", "client", "settings", "ledger"))
        own = {"config": CONFIG, "task": self.task, "spec": seed[0].seed, "artifacts": self.artifacts}
        self.pool = TrainingPool(RunContext(**own, **missing, listen=self.listen), seed[0])

    def listen(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.warned.append(event.message)

    def listener(self, candidate: Candidate) -> OnEpoch:
        epochs = self.heard.setdefault(candidate.structure_id, [])
        return lambda epoch, _epochs, _top1: epochs.append(epoch)

    def train_here(self, candidate: Candidate, checkpoint: Path) -> Module:
        inheritance = Inheritance(CONFIG, self.task, self.seed[0].seed, self.seed[1])
        trainer = CandidateTrainer(CONFIG, self.task, self.seed[1], inheritance)
        trained = trainer.train(candidate, checkpoint, self.listener(candidate))
        assert not isinstance(trained, Failure)
        return trained[0]


def same_weights(first: Module, second: Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_what_workers_left_goes_on_to_the_weights_of_one_process(
    tmp_path: Path, seed: tuple[Candidate, Module], candidates: list[Candidate]
) -> None:
    run = Run(tmp_path / "run", seed)
    run.pool.advance(candidates[:2], 2, run.listener)
    assert run.heard == {own.structure_id: [1, 2] for own in candidates[:2]}
    assert run.warned == []
    for candidate in candidates[:2]:
        gone_on = run.train_here(candidate, run.artifacts.checkpoint(candidate.structure_id))
        assert run.heard[candidate.structure_id] == [1, 2, 3], "the worker's epochs are not trained again"
        assert same_weights(gone_on, run.train_here(candidate, tmp_path / candidate.structure_id))


def test_a_worker_that_cannot_work_is_told_of_and_left_aside(
    tmp_path: Path, seed: tuple[Candidate, Module], candidates: list[Candidate]
) -> None:
    run = Run(tmp_path, seed, saved=False)
    run.pool.advance(candidates[:1], 1, run.listener)
    (warning,) = run.warned
    assert f"the worker of {candidates[0].structure_id} ended with exit code 1: " in warning
    assert "candidate.json" in warning
    assert run.heard.get(candidates[0].structure_id, []) == []


def test_an_interruption_leaves_no_worker_behind(
    tmp_path: Path, seed: tuple[Candidate, Module], candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(training_pool.subprocess, "Popen", Noted)

    def interrupted(*_: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        Run(tmp_path, seed).pool.advance(candidates, None, lambda _: interrupted)
    assert len(started) == 2, "as many as the configuration says, and the third waits"
    assert all(own.returncode is not None for own in started)


def test_a_worker_ends_with_whoever_started_it(
    tmp_path: Path, seed: tuple[Candidate, Module], candidates: list[Candidate]
) -> None:
    run = Run(tmp_path, seed)
    endless = CONFIG.model_copy(update={"epochs": 100_000})
    folder, checkpoint = run.artifacts.of(seed[0].structure_id), tmp_path / "training.safetensors"
    job = Job(endless, candidates[0], folder, checkpoint, None)
    assert Job.from_line(job.to_line()) == job
    with subprocess.Popen(
        [sys.executable, "-m", "scbp_host.stages.training_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job.to_line())
        process.stdin.flush()
        assert '"epoch": 1' in process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=60) == 1
