"""A run that guesses accuracies by a slimmable seed."""

from __future__ import annotations

import pytest

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.events import ignore
from scbp_host.measuring.session import MeasureSettings
from scbp_host.search.base import Problem
from scbp_host.search.guided import GuidedSearch
from scbp_host.search.strategies import STRATEGIES
from scbp_host.store import Outcome, Store


@pytest.fixture
def config(tiny_config: RunConfig) -> RunConfig:
    return tiny_config.model_copy(update={"accuracy": "supernet", "supernet_epochs": 1})


def outcomes_of(config: RunConfig) -> list[Outcome]:
    with Store.open(config.out / pipeline.STORE_FILE) as store:
        return list(store.outcomes(store.runs()[0].id))


def estimates_of(config: RunConfig) -> dict[str, float]:
    return {own.subject: own.payload["val_top1"] for own in outcomes_of(config) if own.stage == "estimate"}


def test_the_search_goes_by_the_estimates(
    config: RunConfig, quick: MeasureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    guesses: list[list[float]] = []

    class Watched(GuidedSearch):
        def __init__(self, problem: Problem) -> None:
            guesses.append(problem.prior.guess.tolist())
            super().__init__(problem)

    monkeypatch.setitem(STRATEGIES, "guided", Watched)
    summary = pipeline.run(config, ignore, settings=quick).summary

    estimates = estimates_of(config)
    assert len(estimates) == 4, "three structures and the seed"
    of_pool = sorted(top1 for subject, top1 in estimates.items() if subject != summary.seed.id)
    assert [sorted(own) for own in guesses] == [of_pool] * len(guesses)
    order = [(own.stage, own.subject) for own in outcomes_of(config)]
    assert order.index(("seed", "seed")) < order.index(("supernet", "supernet"))
    assert max(order.index(("estimate", own)) for own in estimates) < order.index(("propose", "round-1-measure"))
    assert summary.stage_seconds["supernet"] > 0
