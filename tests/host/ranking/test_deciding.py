import pytest

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import MEMORY
from scbp_host.ranking.budgets import Budgets
from scbp_host.ranking.deciding import OPEN, turns_on
from scbp_host.ranking.pareto import Objectives


def point(top1, latency_ms, *, off=0.0, std=0.0, onnx_bytes=1000):
    return Objectives(top1, Interval(latency_ms, latency_ms - off, latency_ms + off), {MEMORY: 50.0}, onnx_bytes, std)


SEED = point(0.99, 10.0)
FREE = Budgets()


def test_where_no_intervals_meet_nothing_turns_on_a_latency():
    contenders = [point(0.95, 4.0, off=0.1), point(0.9, 3.0, off=0.1), point(0.85, 6.0, off=0.1)]
    assert turns_on(SEED, contenders, FREE).tolist() == pytest.approx([0.0] * 3, abs=OPEN / 2)


def test_of_two_that_overlap_the_one_less_sure_decides():
    contenders = [point(0.95, 4.0, off=0.02), point(0.94, 4.1, off=0.4), point(0.8, 3.0, off=0.1)]
    sure, unsure, apart = turns_on(SEED, contenders, FREE)
    assert unsure > 0.1
    assert sure < unsure / 5
    assert apart < OPEN


def test_a_latency_across_the_budget_decides_and_one_within_does_not():
    contenders = [point(0.95, 5.0, off=0.3), point(0.9, 3.0, off=0.3)]
    across, within = turns_on(SEED, contenders, Budgets(latency_ms=5.1))
    assert across > 0.1
    assert within < OPEN


def test_who_is_fastest_is_worth_knowing_though_both_are_on_the_front():
    """Of one accuracy to the eye, each with something that the other has not: only who is best is open."""
    contenders = [point(0.95, 4.0, off=0.3, onnx_bytes=900), point(0.95, 4.1, off=0.3, onnx_bytes=800)]
    contenders[1] = Objectives(0.951, contenders[1].latency_ms, {MEMORY: 50.0}, 1100)
    budgets = Budgets(accuracy_drop_points=5.0)
    assert min(turns_on(SEED, contenders, budgets)) > 0.1
    too_inaccurate = Budgets(accuracy_drop_points=1.0)
    assert max(turns_on(SEED, [contenders[0], point(0.951, 7.0)], too_inaccurate)) < OPEN


def test_what_is_up_to_accuracy_alone_is_not_measured_again():
    contenders = [point(0.95, 4.0, std=0.02), point(0.94, 4.1, std=0.02)]
    assert turns_on(SEED, contenders, FREE).tolist() == [0.0, 0.0]
