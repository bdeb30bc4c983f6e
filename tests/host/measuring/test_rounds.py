"""Rounds of models: when they end, what is thrown away, what is not made one, and what fits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scbp_agent import wire
from scbp_host.domain.measurement import Sampling, Stopped
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.measuring.fitting import Need, Room, available_bytes, memory_need
from scbp_host.measuring.pooling import Pooled, unlike
from scbp_host.measuring.rounds import RoundBench, loads_in_turn
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stability import is_spoilt
from scbp_host.measuring.stopping import LEAST_LOADS

MODELS = [wire.RoundModel(wire.ModelRef("onnx", {"model": own * 64}), wire.RuntimeOptions("r", 1, {})) for own in "abc"]
FREE, BUSY = wire.LoadRecord(10**9, 0, 0, 0), wire.LoadRecord(10**9, 9 * 10**8, 0, 99)
QUIET: dict[str, Any] = {"before": {}, "during": [], "after": {"power_mode": "MAXN", "clock_policy": "locked"}}
SECONDS_A_BATCH = 2.0


class Board:
    """Answers plans as an agent does, with noise of a given deviation; a batch takes two seconds of its own clock."""

    def __init__(self, spread: float, records: Iterator[wire.LoadRecord], seen: dict[str, Any] = QUIET) -> None:
        self.random = np.random.default_rng(0)
        self.spread, self.records, self.seen = spread, records, seen
        self.now = 0.0
        self.plans: list[wire.PairedPlan] = []

    def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
        self.plans.append(plan)
        self.now += SECONDS_A_BATCH
        models = [wire.ModelSamples(self._blocks(plan), [1]) for _ in plan.models]
        return wire.PairedResult(models, [next(self.records)] * plan.loads, None, 1, self.seen)

    def _blocks(self, plan: wire.PairedPlan) -> list[list[int]]:
        levels = self.random.lognormal(0.0, self.spread, plan.loads).repeat(plan.blocks)
        return [[round(1e6 * own)] * 2 for own in levels.tolist()]


def board(spread: float = 0.02, records: Iterator[wire.LoadRecord] | None = None) -> Board:
    return Board(spread, itertools.repeat(FREE) if records is None else records)


def run(device: Any, models: int = 2, *, alternating: bool = False, **settings: Any) -> Pooled | Failure:
    bench = RoundBench(device, replace(MeasureSettings(), **settings), clock=lambda: device.now)
    return bench.run(MODELS[:models], None, alternating=alternating)


def taken(device: Any, models: int = 2, *, alternating: bool = False, **settings: Any) -> Sampling:
    outcome = run(device, models, alternating=alternating, **settings)
    assert isinstance(outcome, Pooled)
    return outcome.sampling


def test_without_a_width_and_a_budget_one_batch_is_all() -> None:
    assert taken(board()) == Sampling(8, Stopped.FIXED, SECONDS_A_BATCH)


def test_batches_are_pooled_until_the_interval_is_narrow() -> None:
    device = board(0.02)
    outcome = run(device, ci_width=0.02, max_seconds=1000.0)
    assert isinstance(outcome, Pooled)
    assert outcome.sampling.stopped is Stopped.CI_WIDTH
    (ratio,) = outcome.ratios
    assert ratio.relative_width < 0.02
    assert outcome.sampling.loads == len(outcome.result.loads) == 8 * len(device.plans) > LEAST_LOADS
    assert all(len(own.blocks_ns) == 4 * outcome.sampling.loads for own in outcome.result.models)
    assert outcome.result.unsteady_warmups == len(device.plans)


def test_no_batch_begins_that_the_budget_does_not_hold() -> None:
    assert taken(board(0.5), ci_width=0.01, max_seconds=9.0) == Sampling(32, Stopped.BUDGET, 8.0)
    assert taken(board(0.5), max_seconds=10.0) == Sampling(40, Stopped.BUDGET, 10.0)
    assert taken(board(0.5), ci_width=0.01).seconds == 60.0


def test_nobody_looks_before_there_are_enough_loads() -> None:
    assert taken(board(0.0), ci_width=0.5).loads == LEAST_LOADS
    assert taken(board(0.5), ci_width=0.01, max_seconds=1.0).loads == LEAST_LOADS


def test_every_model_of_a_round_must_be_known_and_leads_as_often() -> None:
    device = board(0.02)
    outcome = run(device, models=3, ci_width=0.02, max_seconds=1000.0)
    assert isinstance(outcome, Pooled)
    assert len(outcome.ratios) == 2
    assert all(own.relative_width < 0.02 for own in outcome.ratios)
    assert {plan.loads for plan in device.plans} == {9}
    assert outcome.sampling.together == 3
    assert [loads_in_turn(8, own) for own in (2, 3, 4, 5)] == [8, 9, 8, 10]


def test_later_batches_have_as_many_blocks_as_the_first_came_to() -> None:
    class Fast(Board):
        def _blocks(self, plan: wire.PairedPlan) -> list[list[int]]:
            return super()._blocks(plan if plan.sampling_ns is None else plan._replace(blocks=12))

    device = Fast(0.02, itertools.repeat(FREE))
    outcome = run(device, ci_width=0.02, max_seconds=1000.0)
    assert isinstance(outcome, Pooled)
    assert [(own.blocks, own.sampling_ns) for own in device.plans[:2]] == [(4, 120_000_000), (12, None)]
    assert len(outcome.result.models[0].blocks_ns) == 12 * len(outcome.result.loads)


def test_what_was_contended_is_thrown_away_and_repeated_and_counted() -> None:
    device = board(records=itertools.chain([BUSY], itertools.repeat(FREE)))
    outcome = run(device)
    assert isinstance(outcome, Pooled)
    assert outcome.sampling == Sampling(8, Stopped.FIXED, 2 * SECONDS_A_BATCH, discarded=1)
    assert set(outcome.result.loads) == {FREE}


def test_it_is_repeated_twice_at_most_and_then_counts() -> None:
    device = board(records=itertools.repeat(BUSY))
    assert taken(device).discarded == 2
    assert len(device.plans) == 3
    # A second repeat would end after the budget, so it is not begun.
    assert taken(board(0.0, itertools.repeat(BUSY)), max_seconds=5.0).discarded == 1


def test_batches_under_unlike_conditions_are_not_made_one() -> None:
    device = board(0.5)
    moded = {**QUIET, "after": {"power_mode": "15W"}}

    class Switched(Board):
        def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
            self.seen = moded if self.plans else QUIET
            return super().measure_paired(plan)

    failure = run(Switched(0.5, device.records), ci_width=0.01)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.UNLIKE_CONDITIONS
    assert "the power mode was MAXN and is 15W now" in failure.message


@pytest.mark.parametrize(
    ("then", "now", "differs"),
    [
        ({"runtime_version": "1.0"}, {"runtime_version": "1.1"}, "runtime's version"),
        ({"after": {"clock_policy": "locked"}}, {"after": {"clock_policy": "DVFS"}}, "clock policy"),
        ({"after": {"power_mode": None}}, {"after": {"power_mode": "15W"}}, ""),
        ({}, {"runtime_version": "1.1", "after": None}, ""),
        (QUIET, {**QUIET, "before": {"power_mode": "15W"}}, ""),
    ],
)
def test_unlike_is_what_both_tell_and_tell_differently(then: Any, now: Any, differs: str) -> None:
    failure = unlike(then, now)
    assert (failure is not None) == bool(differs)
    assert failure is None or differs in failure.message


def test_models_that_do_not_fit_alternate_in_workers_forth_and_back() -> None:
    device = board()
    outcome = run(device, alternating=True, loads=4)
    assert isinstance(outcome, Pooled)
    assert outcome.sampling.alternating
    order = ["ab"[plan.models[0].model.blobs["model"] == "b" * 64] for plan in device.plans]
    assert "".join(order) == "abbaabba"
    assert all(len(plan.models) == plan.loads == 1 for plan in device.plans)
    assert all(plan.sampling_ns is None for plan in device.plans), "one worker cannot know how fast the others are"
    assert [len(own.blocks_ns) for own in outcome.result.models] == [16, 16]
    assert len(outcome.result.loads) == 4
    assert outcome.result.unsteady_warmups == 8


def test_what_any_of_the_alternating_workers_met_is_known_of_the_round() -> None:
    class Hot(Board):
        def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
            number = len(self.plans)
            self.seen = {"before": {"number": number}, "during": [{"number": number}], "after": {"number": number}}
            return super().measure_paired(plan)

    outcome = run(Hot(0.02, itertools.repeat(FREE)), alternating=True, loads=2)
    assert isinstance(outcome, Pooled)
    seen = outcome.result.conditions
    numbers = [moment["number"] for moment in seen["during"]]
    assert (numbers, {*numbers}) == (sorted(numbers), {0, 1, 2, 3})
    assert (seen["before"]["number"], seen["after"]["number"]) == (0, 3)


def test_what_throttled_between_two_batches_throttled_during_the_round() -> None:
    hot = {**QUIET, "after": {"throttle": {"throttled_now": 1}}}

    class Cooling(Board):
        def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
            self.seen = QUIET if self.plans else hot
            return super().measure_paired(plan)

    outcome = run(Cooling(0.02, itertools.repeat(FREE)), most_discarded=0, max_seconds=5.0)
    assert isinstance(outcome, Pooled)
    assert outcome.sampling.loads == 16
    assert is_spoilt(outcome.result)


def test_a_failure_ends_the_round() -> None:
    failure = Failure(FailureKind.OUT_OF_MEMORY, "killed")

    class Dying(Board):
        def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
            return failure

    for alternating in (False, True):
        assert run(Dying(0.0, iter(())), alternating=alternating) == failure


def need(memory: int, file: int = 0) -> Need:
    return Need(memory, file)


def test_rounds_hold_what_fits_into_memory() -> None:
    room = Room(1000, 100, need(200), most=4)
    assert room.rounds(dict.fromkeys(range(7), need(100))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert room.rounds({0: need(300), 1: need(300), 2: need(300), 5: need(10)}) == [[0, 1], [2, 5]]
    assert room.rounds({0: need(700), 1: need(100), 2: need(100)}) == [[0], [1, 2]]
    assert not room.holds(need(700))
    assert room.holds(need(600))
    unknown = Room(None, 100, need(0), most=4)
    assert unknown.rounds(dict.fromkeys(range(4), need(10**12))) == [[0, 1, 2], [3]]


def test_more_than_a_pair_must_fit_into_half_of_the_cache() -> None:
    room = Room(10**9, 100, need(0, 20), most=4)
    small, large = need(1, 10), need(1, 60)
    assert room.rounds({0: small, 1: small, 2: small}) == [[0, 1, 2]]
    assert room.rounds({0: small, 1: small, 2: need(1, 11)}) == [[0, 1], [2]]
    assert room.rounds({0: large, 1: small, 2: small, 3: large}) == [[0], [1, 2], [3]]
    assert replace(room, cache_bytes=None).rounds({0: small, 1: small}) == [[0], [1]]


def test_a_models_need_is_what_it_adds_to_its_worker_and_what_the_gpu_holds(make_phase: Callable[..., Any]) -> None:
    load, loop = make_phase(peak=700, gpu=None), make_phase(peak=900, gpu=50)
    solo = wire.SoloResult(400, load, loop, load, [1], [1], 0, 1, None, None, None, [], {})
    assert memory_need(solo) == 900 - 400 + 50
    assert available_bytes(solo) is None
    assert available_bytes(solo._replace(conditions={"before": {"memory_available_bytes": 7}})) == 7


@pytest.fixture
def make_phase() -> Callable[..., wire.Phase]:
    return lambda peak, gpu: wire.Phase(0, 1, peak, True, None, gpu, None, None)
