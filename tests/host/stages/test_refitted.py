"""Accuracies estimated by refitting alone: what is estimated, and that nothing is done twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.events import Acknowledged, Event
from scbp_host.measuring.session import MeasureSettings
from scbp_host.space.seeds import build_seed
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.context import RunContext
from scbp_host.stages.estimates import ESTIMATE
from scbp_host.stages.foresight import Foresight, make_foresight
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger
from scbp_host.store import Store
from scbp_host.tasks.datasets import load_task
from scbp_host.training.inference import evaluate
from scbp_host.training.recipe import Recipe
from scbp_host.training.trainer import train

SPEC = SeedSpec("tiny_seed:factory", 10, (1, 16, 16))


def candidate(stem: int, down: int) -> Candidate:
    return Candidate(SPEC, (stem / 16, down / 32), (("stem.0", stem), ("down.0", down)))


SEED, *POOL = (candidate(stem, down) for stem, down in itertools.product((16, 8), (32, 16)))
RELATIVE = np.asarray([own.ratios for own in POOL])


class Made:
    """A foresight, what it goes by, and what it newly acknowledged."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.config = RunConfig(model=SPEC.factory, input_shape=SPEC.input_shape, accuracy="refit")
        self.task = load_task("digits", SPEC.input_shape)
        self.seed = build_seed(SPEC, 0)
        train(self.seed, self.task, Recipe(epochs=4, learning_rate=1e-2), 0)
        self.inheritance = Inheritance(self.config, self.task, SPEC, self.seed)
        self.new: list[str] = []
        self._store, self._folder = store, folder

    def foresight(self) -> Foresight:
        """Return it as a resumed run would make it."""
        nobody: Any = None
        ledger = Ledger(self._store, "run", self._listen)
        context = RunContext(
            self.config, nobody, nobody, self.task, SPEC, ledger, Artifacts(self._folder), MeasureSettings(), print
        )
        return make_foresight(context, SEED, POOL, self.seed, self.inheritance)

    def _listen(self, event: Event) -> None:
        if isinstance(event, Acknowledged) and not event.reused:
            self.new.append(event.stage)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "integration")
    with Store.open(tmp_path / "scbp.sqlite") as store:
        store.create_run("run", {})
        yield Made(store, tmp_path)


def test_a_structure_is_guessed_by_what_its_training_would_start_from(made: Made) -> None:
    first = made.foresight()
    first.prepare()
    assert made.new == [ESTIMATE] * (1 + len(POOL)), "the seed and all structures, and no training"
    started = [evaluate(made.inheritance.start(own), made.task.validation) for own in POOL]
    assert first.prior(RELATIVE).guess.tolist() == started
    assert len(set(started)) > 1
    resumed = made.foresight()
    resumed.prepare()
    assert len(made.new) == 1 + len(POOL), "nothing is done twice"
    assert resumed.prior(RELATIVE).guess.tolist() == started
