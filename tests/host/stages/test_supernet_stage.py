"""The slimmable seed as a stage: what it estimates, what it keeps, and that nothing is done twice."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.outcome import FailureKind
from scbp_host.events import Acknowledged, Event
from scbp_host.measuring.session import MeasureSettings
from scbp_host.space.importance import channel_scores
from scbp_host.space.seeds import build_seed
from scbp_host.stages import supernet as stage
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.context import RunContext
from scbp_host.stages.estimates import ESTIMATE, SHORTLIST_FACTORS
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.supernet import SUPERNET, Supernet
from scbp_host.store import Store
from scbp_host.tasks.base import Split, Task
from scbp_host.tasks.datasets import load_task

FACTORY = """
from torch import nn

def factory(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes),
    )
"""
SPEC = SeedSpec("slimmable_factory:factory", 10, (1, 8, 8))
WIDTHS = (16, 8, 4)


def candidate(first: int, second: int) -> Candidate:
    return Candidate(SPEC, (first / 16, second / 16), (("0", first), ("3", second)))


SEED, *POOL = (candidate(first, second) for first, second in itertools.product(WIDTHS, WIDTHS))
RELATIVE = np.asarray([own.ratios for own in POOL])
Make = Callable[..., Supernet]


class Log:
    """Remembers what was newly acknowledged; raises after ``most`` of a stage."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.stop_at: tuple[str, int] | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Acknowledged) and not event.reused:
            self.done.append((event.stage, event.subject))
            if self.stop_at and self.subjects(self.stop_at[0]) == self.stop_at[1]:
                raise InterruptedError

    def subjects(self, name: str) -> int:
        return sum(own == name for own, _ in self.done)


@pytest.fixture(scope="module")
def task() -> Task:
    """Digits at their own 8x8, few of them; the test split holds NaN, which would show."""
    digits = load_task("digits", (1, 8, 8))
    few = Split(digits.train.images[:256], digits.train.labels[:256])
    held_out = Split(digits.held_out.images * float("nan"), digits.held_out.labels)
    return dataclasses.replace(digits, train=few, held_out=held_out)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "scbp.sqlite") as store:
        store.create_run("run", {})
        yield store


@pytest.fixture
def make(store: Store, task: Task, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a maker of the stage, each time as a resumed run would make it; neither device nor profile is asked."""
    (tmp_path / "slimmable_factory.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    source = build_seed(SPEC, random_seed=0)
    config = RunConfig(accuracy="supernet", supernet_epochs=2)
    nobody: Any = None

    def make(pool: Sequence[Candidate] = POOL) -> Supernet:
        ledger, artifacts = Ledger(store, "run", log), Artifacts(tmp_path / "run")
        context = RunContext(config, nobody, nobody, task, SPEC, ledger, artifacts, MeasureSettings(), log)
        return Supernet(context, SEED, pool, source, channel_scores(source, SPEC))

    return make


def estimates(store: Store) -> dict[str, float]:
    return {own.subject: own.payload["val_top1"] for own in store.outcomes("run", ESTIMATE) if own.payload}


def test_the_seed_and_every_structure_are_estimated_once(make: Make, store: Store, log: Log) -> None:
    first = make()
    first.prepare()
    assert log.subjects(SUPERNET) == 1
    assert set(estimates(store)) == {own.structure_id for own in (SEED, *POOL)}
    prior = first.prior(RELATIVE)
    assert prior.guess.tolist() == [estimates(store)[own.structure_id] for own in POOL]
    done = list(log.done)
    make().prepare()
    assert log.done == done, "a resumed run finds everything done"


def test_interrupted_between_estimates_the_training_is_not_repeated(
    make: Make, store: Store, log: Log, tmp_path: Path
) -> None:
    log.stop_at = (ESTIMATE, 3)
    with pytest.raises(InterruptedError):
        make().prepare()
    weights = tmp_path / "run" / "candidates" / SUPERNET / "weights.safetensors"
    written, before = weights.stat().st_mtime_ns, estimates(store)
    log.stop_at = None
    make().prepare()
    assert weights.stat().st_mtime_ns == written
    assert len(log.done) == len(set(log.done)) == 1 + 1 + len(POOL)
    assert estimates(store).items() >= before.items()
    assert not (weights.parent / "training.safetensors").exists()


def test_of_a_larger_pool_a_sample_is_estimated_and_then_what_may_be_trained(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SAMPLE", 4)
    sampled = make()
    sampled.prepare()
    assert len(estimates(store)) == 1 + 4
    assert np.isfinite(sampled.prior(RELATIVE).guess).all()
    missing = [own for own in POOL if own.structure_id not in estimates(store)]
    asked: list[int] = []

    def propose(count: int) -> list[Candidate]:
        asked.append(count)
        return missing[:2]

    sampled.refine(propose, 3)
    assert asked == [3 * factor for factor in SHORTLIST_FACTORS]
    assert set(estimates(store)) >= {own.structure_id for own in missing[:2]}
    assert len(estimates(store)) == 1 + 4 + 2


def test_where_all_are_estimated_nobody_is_asked_for_a_shortlist(make: Make) -> None:
    make().refine(lambda _: pytest.fail("there is nothing to refine"), 3)


def test_a_structure_that_cannot_be_derived_is_a_failure_and_stops_nothing(make: Make, store: Store) -> None:
    wrong = Candidate(SPEC, (0.1, 0.1), (("0", 1), ("3", 1), ("ghost", 1)))
    pool = [*POOL, wrong]
    mixed = make(pool)
    mixed.prepare()
    failed = {own.subject: own.failure for own in store.outcomes("run", ESTIMATE) if own.failure}
    assert [(own, failure.kind) for own, failure in failed.items()] == [(wrong.structure_id, FailureKind.DERIVE_FAILED)]
    assert np.isfinite(mixed.prior(np.asarray([own.ratios for own in pool])).guess).all()
