"""A run goes on where its latencies and accuracies compare with those it has, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from scbp_host.errors import UsageError
from scbp_host.profiles import load_profile
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.surroundings import acknowledge_surroundings
from scbp_host.tasks.base import Sizes


@dataclass(frozen=True)
class Surroundings:
    """What a run may meet."""

    version: str = "1.17.1"
    settings: dict[str, Any] = field(default_factory=dict)
    power_mode: str | None = "MAXN"
    policy: str | None = None
    split: str = "ab" * 32


@pytest.fixture
def meet(store):
    """Begin a run, or go on with it, in some surroundings."""
    store.create_run("r1", {})

    def begin(met: Surroundings) -> None:
        profile = replace(load_profile("local"), runtime_settings=met.settings)
        conditions = {"power_mode": met.power_mode, "clock_policy": met.policy}
        info = SimpleNamespace(
            board="a board",
            os_release="Linux",
            python="3.6.9",
            runtimes={profile.runtime: met.version},
            agent_sha256="cd" * 32,
            emulated=None,
            facts={"conditions": conditions},
        )
        client = SimpleNamespace(info=info, clocks=None, warnings=(), bytes_shipped=0)
        metric = SimpleNamespace(name="top-1")
        task = SimpleNamespace(
            name="digits", split_sha256=met.split, sizes=Sizes(1, 1, 1), class_names=(), metric=metric, warnings=()
        )
        ledger = Ledger(store, "r1", lambda event: None)
        context: Any = SimpleNamespace(profile=profile, client=client, task=task, ledger=ledger, listen=print)
        acknowledge_surroundings(context)

    return begin


BEGUN = Surroundings()


@pytest.mark.parametrize(
    ("met", "words"),
    [
        (replace(BEGUN, version="1.18.0"), "onnxruntime is 1.18.0, the run began with 1.17.1"),
        (replace(BEGUN, settings={"a": 1}), "the runtime's settings are {'a': 1}, the run began with {}"),
        (replace(BEGUN, power_mode="15W"), "the power mode is 15W, the run began with MAXN"),
        (replace(BEGUN, split="ef" * 32), "data digits: changed since the run began"),
    ],
)
def test_a_run_does_not_go_on_elsewhere(meet, met, words):
    meet(BEGUN)
    with pytest.raises(UsageError) as caught:
        meet(met)
    assert words in caught.value.message
    assert "start a new run, without --resume" in caught.value.hint


@pytest.mark.parametrize("met", [BEGUN, replace(BEGUN, power_mode=None), replace(BEGUN, policy="locked")])
def test_it_goes_on_where_nothing_is_known_to_differ(meet, met):
    meet(BEGUN)
    meet(met)
