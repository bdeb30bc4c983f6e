"""What a run's configuration and profile say of how to measure reaches the plans."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scbp_agent import wire
from scbp_host.config import RunConfig
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.export.precision import Variant
from scbp_host.measuring.session import MeasureSettings
from scbp_host.profiles import load_profile
from scbp_host.stages.context import RunContext

STOP = Failure(FailureKind.TIMEOUT, "stop here")


class Recorder:
    """Takes everything that is shipped, and remembers the plans."""

    options = wire.RuntimeOptions("onnxruntime", 1, {})
    info = SimpleNamespace(facts={})
    plan: wire.SoloPlan

    def ship(self, content: bytes, *, pack: bool) -> str:
        return "0" * 64

    def build(self, plan: wire.BuildPlan) -> wire.BuildResult:
        self.build_plan = plan
        return wire.BuildResult(None, False, None, None, [], {})

    def measure_solo(self, plan: wire.SoloPlan) -> Failure:
        self.plan = plan
        return STOP


@pytest.mark.parametrize(
    ("rate", "limit_bytes", "period_ns"),
    [("30hz", None, 33_333_333), (None, 10**9, None), ("60fps", 10**9, 16_666_667)],
)
def test_the_rate_and_the_memory_limit_are_in_the_plans(
    rate: str | None, limit_bytes: int | None, period_ns: int | None
) -> None:
    client, nobody = Recorder(), SimpleNamespace(first=lambda count: np.zeros((count, 3, 8, 8), np.float32))
    config = RunConfig.model_validate({"rate": rate})
    profile = replace(load_profile("local"), memory_limit_bytes=limit_bytes)
    parts: list[Any] = [config, profile, client, nobody, None, None, None, MeasureSettings(), print]
    assert RunContext(*parts).measuring(Variant(b"reference"), filler=False).measure(b"model", pack=False) == STOP
    assert (client.plan.period_ns, client.plan.memory_limit_bytes) == (period_ns, limit_bytes)
    assert client.plan.warmup_limit_ns == 500_000_000
    assert client.build_plan.memory_limit_bytes == limit_bytes


def test_a_stored_rate_is_read_again_and_another_is_another_run() -> None:
    config = RunConfig.model_validate({"rate": "30hz"})
    assert RunConfig.model_validate(config.identity()) == config
    assert config.agrees_with(config.identity())
    assert not config.agrees_with(RunConfig().identity())
    assert RunConfig().agrees_with({key: own for key, own in RunConfig().identity().items() if key != "rate"})
