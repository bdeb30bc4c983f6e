"""Interrupted in the middle of a training, a run goes on from the last epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.events import Acknowledged, Event, Progress
from scbp_host.measuring.session import MeasureSettings
from scbp_host.store import STORE_FILE, Store


class Interrupted(Exception):
    """Somebody pulled the plug."""


class Epochs:
    """Hears the epochs of one stage, and interrupts after one of them."""

    def __init__(self, stage: str, interrupt_after: int | None = None) -> None:
        self.stage = stage
        self.interrupt_after = interrupt_after
        self.heard: list[int] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.stage == self.stage and "validation top-1" in event.note:
            self.heard.append(len(self.heard) + 1)
            if len(self.heard) == self.interrupt_after:
                raise Interrupted


def stop_after_seed(event: Event) -> None:
    """Nothing that follows matters here."""
    if isinstance(event, Acknowledged) and event.stage == "seed":
        raise Interrupted


def weights(config: RunConfig, stage: str) -> list[str]:
    with Store.open(config.out / STORE_FILE) as store:
        rows = store.outcomes(store.runs()[0].id, stage)
        return [own.payload["weights_sha256"] for own in rows if own.payload]


@pytest.mark.parametrize("stage", ["seed", "train"])
def test_no_epoch_is_trained_twice(tiny_config: RunConfig, quick: MeasureSettings, stage: str) -> None:
    config = tiny_config.model_copy(update={"rounds": 1, "seed_epochs": 4, "epochs": 4})
    with pytest.raises(Interrupted):
        pipeline.run(config, Epochs(stage, interrupt_after=3), settings=quick)
    assert len(list(config.out.glob("*/candidates/*/training.safetensors"))) == 1
    rest = Epochs(stage)
    pipeline.run(config, rest, resume=True, settings=quick)
    assert len(rest.heard) == 1
    assert not list(config.out.rglob("training.safetensors")), "what is acknowledged needs no checkpoint"


def test_an_interrupted_seed_has_the_weights_of_one_that_was_not(
    tiny_config: RunConfig, quick: MeasureSettings, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"rounds": 1, "seed_epochs": 3})
    with pytest.raises(Interrupted):
        pipeline.run(config, Epochs("seed", interrupt_after=2), settings=quick)
    whole = config.model_copy(update={"out": tmp_path / "whole"})
    for own, resume in ((config, True), (whole, False)):
        with pytest.raises(Interrupted):
            pipeline.run(own, stop_after_seed, resume=resume, settings=quick)
    assert weights(config, "seed") == weights(whole, "seed")
