import dataclasses

import numpy as np
import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY, RESOURCES
from scbp_host.ranking.budgets import Budgets
from scbp_host.ranking.chances import Chances, binomial_std, chances, tied
from scbp_host.ranking.pareto import Objectives
from scbp_host.report.candidate import ChancesRecord
from scbp_host.report.summary import BudgetRecord


def point(top1, latency_ms, *, off=0.0, std=0.0, energy_mj=30.0):
    amounts = {MEMORY: 50.0} if energy_mj is None else {MEMORY: 50.0, ENERGY: energy_mj}
    return Objectives(top1, Interval(latency_ms, latency_ms - off, latency_ms + off), amounts, 1000, std)


SEED = point(0.99, 10.0)


def test_without_uncertainty_chances_are_certainties():
    on, off = point(0.95, 4.0), point(0.94, 5.0)
    budgets = Budgets(latency_ms=4.5, resources={MEMORY: 60.0}, accuracy_drop_points=4.0)
    assert chances(SEED, [on, off], budgets) == [
        Chances(1.0, 0.0, 1.0, None, 1.0),
        Chances(1.0, 1.0, 1.0, None, 1.0),
        Chances(0.0, 0.0, 1.0, None, 0.0),
    ]


def test_an_energy_that_is_not_told_is_not_within_its_budget():
    contenders = [point(0.9, 5.0, energy_mj=own) for own in (29.0, 31.0, None)]
    found = chances(SEED, contenders, Budgets(resources={ENERGY: 30.0}))
    assert [own.energy for own in found] == [1.0, 1.0, 0.0, 0.0]


def test_less_energy_alone_keeps_nobody_on_the_front():
    frugal, faster = point(0.9, 5.0, energy_mj=10.0), point(0.9, 4.0, energy_mj=20.0)
    assert [own.on_front for own in chances(SEED, [frugal, faster], Budgets())] == [1.0, 0.0, 1.0]


def test_every_resource_has_a_chance_and_a_budget_of_its_name():
    assert {own.name for own in RESOURCES} <= {own.name for own in dataclasses.fields(Chances)}
    assert {f"{own.name}_budget" for own in RESOURCES} <= set(RunConfig.model_fields)
    assert {own.key for own in RESOURCES} <= set(BudgetRecord.model_fields)
    assert {own.name for own in dataclasses.fields(Chances)} == set(ChancesRecord.model_fields)


def test_where_there_is_no_budget_there_is_no_chance_to_meet_it():
    assert chances(SEED, [], Budgets()) == [Chances(1.0, None, None, None, None)]


@pytest.mark.parametrize(("limit", "chance"), [(5.0, 0.5), (6.0, 0.975), (4.0, 0.025)])
def test_an_interval_of_95_percent_is_taken_as_one(limit, chance):
    (_, own) = chances(SEED, [point(0.9, 5.0, off=1.0)], Budgets(latency_ms=limit))
    assert own.latency == pytest.approx(chance, abs=0.03)


def test_a_lopsided_interval_is_drawn_lopsided():
    own = Objectives(0.9, Interval(5.0, 4.9, 8.0), {MEMORY: 50.0}, 1000)
    (_, far) = chances(SEED, [own], Budgets(latency_ms=7.0))
    (_, near) = chances(SEED, [own], Budgets(latency_ms=4.8))
    assert 0.02 < 1 - far.latency < 0.5
    assert near.latency < 0.05


def test_twins_share_the_front_and_the_surely_beaten_is_never_on_it():
    twins = [point(0.95, 4.0, off=0.2, std=0.01) for _ in range(2)]
    found = chances(SEED, [*twins, point(0.8, 6.0, off=0.2, std=0.01)], Budgets())
    # Each beats the other in both of two independent draws a quarter of the time.
    assert found[1].on_front == pytest.approx(0.75, abs=0.04)
    assert found[2].on_front == pytest.approx(0.75, abs=0.04)
    assert found[3].on_front == 0.0


def test_the_chance_of_enough_accuracy_counts_both_uncertainties():
    """One standard deviation each, one apart: Phi(1 / sqrt 2) = 0.76."""
    seed = point(0.99, 10.0, std=0.01)
    (_, own) = chances(seed, [point(0.98, 5.0, std=0.01)], Budgets(accuracy_drop_points=2.0))
    assert own.accuracy == pytest.approx(0.76, abs=0.03)


def test_exactly_as_much_as_allowed_is_allowed():
    (_, own) = chances(SEED, [point(0.98, 5.0)], Budgets(accuracy_drop_points=1.0))
    assert own.accuracy == 1.0


def test_chances_are_the_same_each_time():
    field = [point(0.95 - 0.01 * own, 4.0 + 0.1 * own, off=0.5, std=0.01) for own in range(5)]
    assert chances(SEED, field, Budgets(latency_ms=4.2)) == chances(SEED, field, Budgets(latency_ms=4.2))


def test_a_tie_needs_both_latency_and_accuracy_to_overlap():
    own = point(0.95, 4.0, off=0.2, std=0.01)
    assert tied(own, point(0.94, 4.3, off=0.2, std=0.01))
    assert not tied(own, point(0.94, 4.5, off=0.2, std=0.01)), "one is faster"
    assert not tied(own, point(0.90, 4.3, off=0.2, std=0.01)), "one is more accurate"
    assert tied(point(0.94, 4.3, off=0.2, std=0.01), own)


def test_the_deviation_of_an_accuracy_is_that_of_its_images():
    drawn = np.random.default_rng(0).binomial(400, 0.9, 20_000) / 400
    assert binomial_std(0.9, 400) == pytest.approx(drawn.std(), rel=0.05)
    assert 0 < binomial_std(1.0, 400) < binomial_std(0.99, 400)
