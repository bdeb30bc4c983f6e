"""Successive halving over real trainings, on a network and a data set that take a moment."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.events import Event, Progress, ignore
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.candidates import CandidateTrainer
from scbp_host.stages.context import RunContext
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.names import HALVING, RUNG, TRAIN
from scbp_host.stages.round import Trained, TrainingRound
from scbp_host.stages.training_pool import TrainingPool
from scbp_host.stages.trainings import Trainings
from scbp_host.store import Store
from scbp_host.tasks.base import Split, Task
from scbp_host.tasks.datasets import load_task

SHAPE = (1, 16, 16)
EPOCHS = 8
CONFIG = RunConfig(model="tiny_seed:factory", input_shape=SHAPE, epochs=EPOCHS, halving=2, distill=False)


class Interrupted(Exception):
    """Somebody pulled the plug."""


@pytest.fixture(scope="module")
def task() -> Task:
    digits = load_task("digits", SHAPE)
    few = [Split(own.images[:96], own.labels[:96]) for own in (digits.train, digits.validation)]
    return dataclasses.replace(digits, train=few[0], validation=few[1])


@pytest.fixture(scope="module")
def spec() -> Iterator[SeedSpec]:
    sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
    yield seed_spec("tiny_seed:factory", 10, SHAPE)
    sys.path.pop(0)


@pytest.fixture(scope="module")
def candidates(spec: SeedSpec) -> list[Candidate]:
    """24 of them, the widest first."""
    widths = itertools.product((16, 12, 8, 4), (32, 24, 20, 16, 12, 8))
    return [Candidate(spec, (stem / 16, down / 32), (("stem.0", stem), ("down.0", down))) for stem, down in widths]


def latencies(candidates: list[Candidate]) -> dict[str, float]:
    return {own.structure_id: sum(own.ratios) for own in candidates}


class Runner:
    """Starts, interrupts and resumes the training of one round."""

    def __init__(self, folder: Path, task: Task, spec: SeedSpec, seed: Module, config: RunConfig = CONFIG) -> None:
        self.folder, self.task, self.spec, self.seed, self.config = folder, task, spec, seed, config
        self.heard: list[str] = []

    def train(self, candidates: list[Candidate], interrupt_after: int | None = None) -> Trained:
        """Train them; ``interrupt_after`` so many epochs."""
        heard: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Progress) and ": epoch " in event.note:
                heard.append(event.note)
                self.heard.append(event.note)
                if len(heard) == interrupt_after:
                    raise Interrupted

        with Store.open(self.folder / "scbp.sqlite") as store:
            if not store.runs():
                store.create_run("r1", {})
            run = self._context(Ledger(store, "r1", ignore), listen)
            inheritance = Inheritance(self.config, self.task, self.spec, self.seed)
            trainer = CandidateTrainer(self.config, self.task, self.seed, inheritance)
            trainings, pool = Trainings(run, None, trainer), TrainingPool(run, candidates[0])
            return TrainingRound(run, trainings, pool, 1).train(candidates, latencies(candidates))

    def rows(self, stage: str) -> dict[str, dict]:
        """Return the results of a stage by subject."""
        with Store.open(self.folder / "scbp.sqlite") as store:
            return {own.subject: own.payload or {} for own in store.outcomes("r1", stage)}

    def _context(self, ledger: Ledger, listen: object) -> RunContext:
        # No device: nothing is measured here.
        device = dict.fromkeys(("profile", "client", "settings"))
        own = {"config": self.config, "task": self.task, "spec": self.spec, "artifacts": Artifacts(self.folder)}
        return RunContext(**own, **device, ledger=ledger, listen=listen)


@pytest.fixture
def runner(tmp_path: Path, task: Task, spec: SeedSpec) -> Runner:
    return Runner(tmp_path, task, spec, build_seed(spec, 0))


def test_24_candidates_cost_less_than_15_full_trainings(runner: Runner, candidates: list[Candidate]) -> None:
    trained = runner.train(candidates)
    assert len(trained) == 6
    # 24 to epoch 2, 12 to epoch 4, 6 to epoch 8; six full trainings are 48.
    assert len(runner.heard) == 24 * 2 + 12 * 2 + 6 * 4 < 2.5 * 6 * EPOCHS
    assert len(set(runner.heard)) == len(runner.heard), "no epoch is trained twice"
    assert all(payload["epochs"] == EPOCHS for _, payload in trained)

    verdicts = runner.rows(HALVING)
    assert list(verdicts) == ["round-1-epoch-2", "round-1-epoch-4"]
    first, second = verdicts.values()
    assert (len(first["goes_on"]), len(first["stopped"])) == (12, 12)
    assert set(second["goes_on"]) | set(second["stopped"]) == set(first["goes_on"])
    assert [own.structure_id for own, _ in trained] == second["goes_on"]
    scores = {own: payload["val_top1"] for own, payload in runner.rows(RUNG).items()}
    assert len(scores) == 24 + 12
    for lane in range(6):
        on, off = ([own for own in first[key] if first["lanes"][own] == lane] for key in ("goes_on", "stopped"))
        assert len(on) == len(off) == 2
        assert min(scores[f"{own}@2"] for own in on) >= max(scores[f"{own}@2"] for own in off)
    assert not list(runner.folder.rglob("training.safetensors"))


def test_who_survives_has_the_weights_of_a_training_that_was_never_judged(
    runner: Runner, candidates: list[Candidate], tmp_path: Path, task: Task, spec: SeedSpec
) -> None:
    ((survivor, payload),) = runner.train(candidates[:4])
    plain = Runner(tmp_path / "plain", task, spec, runner.seed, CONFIG.model_copy(update={"halving": None}))
    ((_, whole),) = plain.train([survivor])
    assert payload["weights_sha256"] == whole["weights_sha256"]


def test_with_a_latency_budget_all_compete_with_all(
    tmp_path: Path, candidates: list[Candidate], task: Task, spec: SeedSpec
) -> None:
    config = CONFIG.model_copy(update={"latency_budget": 5.0, "epochs": 4})
    runner = Runner(tmp_path, task, spec, build_seed(spec, 0), config)
    assert len(runner.train(candidates[:8])) == 4
    (verdict,) = runner.rows(HALVING).values()
    assert set(verdict["lanes"].values()) == {0}


@pytest.mark.parametrize("after", [3, 9, 13])
def test_interrupted_anywhere_it_goes_on_to_the_same_end(
    runner: Runner, candidates: list[Candidate], tmp_path: Path, task: Task, spec: SeedSpec, after: int
) -> None:
    """Within the first rung, within the second, and in the last stretch: 8 + 4 + 4 epochs."""
    with pytest.raises(Interrupted):
        runner.train(candidates[:4], interrupt_after=after)
    resumed = runner.train(candidates[:4])
    whole = Runner(tmp_path / "whole", task, spec, runner.seed)
    assert resumed == whole.train(candidates[:4])
    assert runner.heard == whole.heard, "every epoch once"
    assert {stage: runner.rows(stage) for stage in (RUNG, HALVING, TRAIN)} == {
        stage: whole.rows(stage) for stage in (RUNG, HALVING, TRAIN)
    }


def test_a_candidate_that_fails_leaves_its_lane_to_the_others(
    runner: Runner, candidates: list[Candidate], spec: SeedSpec
) -> None:
    impossible = Candidate(spec, (1.0, 1.0), (("nothing", 8),))
    trained = runner.train([*candidates[:3], impossible])
    assert len(trained) == 1
    assert f"{impossible.structure_id}@2" in runner.rows(RUNG)
    (first, _) = runner.rows(HALVING).values()
    assert impossible.structure_id not in first["lanes"]
