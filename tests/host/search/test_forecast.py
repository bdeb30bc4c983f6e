"""What is expected of latencies, and of what structures take: energies here, which are noisier than peaks of memory."""

import dataclasses

import numpy as np
import pytest
from search_tables import ENERGY_NOISE, Table, synthetic

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.latency.transfer import Experience, Source
from scbp_host.measuring.paired import CONFIDENCE
from scbp_host.search.base import Limits
from scbp_host.search.design import covering
from scbp_host.search.forecast import forecast
from scbp_host.search.known import KnownPool

MEASURED = 24


def forecast_of(table, rows, silent=(), experience=None):
    """Return what is expected after these rows were measured, the silent ones without an energy."""
    pool = KnownPool(table.pool, Limits())
    for row in rows:
        seen = table.measured(table.pool[row])
        without = {MEMORY: seen.resources[MEMORY]}
        pool.observe([dataclasses.replace(seen, resources=without) if row in silent else seen])
    return forecast(pool, dataclasses.replace(table.problem(0), experience=experience or Experience()))


def of_seed(seed):
    table = Table(synthetic(superblocks=4, random_seed=seed))
    return table, covering(table.widths, MEASURED, seed)


def test_intervals_cover_the_energies_of_what_was_not_measured():
    inside, errors = [], []
    for seed in range(6):
        table, rows = of_seed(seed)
        unseen = np.setdiff1d(np.arange(len(table.pool)), rows)
        truth, expected = table.resources[ENERGY][unseen], forecast_of(table, rows).resource(ENERGY)
        inside += [expected[row].low <= own <= expected[row].high for row, own in zip(unseen, truth, strict=True)]
        errors += [expected[row].value / own - 1.0 for row, own in zip(unseen, truth, strict=True)]
    assert CONFIDENCE - 0.05 <= np.mean(inside) <= CONFIDENCE + 0.04
    assert np.sqrt(np.mean(np.square(errors))) < 2.5 * ENERGY_NOISE


def noisier(table, rows, noise, random_seed):
    """Return the observations of rows whose medians scatter around what the fast runs say."""
    random = np.random.default_rng(random_seed)
    for row in rows:
        seen = table.measured(table.pool[row])
        ratio = seen.latency_ratio.value * float(np.exp(random.normal(0.0, noise)))
        interval = Interval(ratio, (1.0 - noise) * ratio, (1.0 + noise) * ratio)
        yield dataclasses.replace(seen, latency_ratio=interval, floor_ratio=seen.latency_ratio.value)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_intervals_cover_medians_that_scatter_around_the_fast_runs_that_are_learned_from(noise):
    inside = []
    for seed in range(4):
        table, rows = of_seed(seed)
        pool = KnownPool(table.pool, Limits())
        pool.observe(list(noisier(table, rows, noise, seed)))
        unseen = np.setdiff1d(np.arange(len(table.pool)), rows)
        expected = forecast(pool, table.problem(0)).latency
        medians = [own.latency_ratio.value for own in noisier(table, unseen, noise, seed + 100)]
        inside += [expected[row].low <= own <= expected[row].high for row, own in zip(unseen, medians, strict=True)]
    assert CONFIDENCE - 0.05 <= np.mean(inside) <= 0.99


def test_what_is_measured_counts_as_it_is():
    table, rows = of_seed(0)
    expected = forecast_of(table, rows).resource(ENERGY)
    assert [expected[row].value for row in rows] == table.resources[ENERGY][rows].tolist()
    assert all(expected[row].low == expected[row].high for row in rows)


def test_an_energy_that_a_board_told_now_and_then_is_learned_from_those():
    table, rows = of_seed(0)
    silent = np.setdiff1d(np.arange(len(table.pool)), rows)[::4]
    expected = forecast_of(table, [*rows, *silent], silent).resource(ENERGY)
    assert expected == forecast_of(table, rows).resource(ENERGY)
    assert all(expected[row].low < expected[row].high for row in silent)


@pytest.mark.parametrize("told", [0, 1])
def test_where_next_to_nothing_was_told_everything_may_be_within(told):
    table, rows = of_seed(0)
    figures = forecast_of(table, rows, silent=rows[told:])
    known = rows[:told]
    least = np.delete(figures.least(ENERGY), known)
    assert not least.any()
    assert np.delete(figures.may_be_within({ENERGY: 1e-3}), known).all()
    assert not figures.may_be_within({ENERGY: 1e-3})[known].any()
    chances = np.delete(figures.chance_within({ENERGY: 1e-3}), known)
    assert ((chances > 0.0) & (chances < 1.0)).all()


def test_the_chances_of_several_budgets_multiply():
    table, rows = of_seed(0)
    figures = forecast_of(table, rows)
    limits = {own: float(np.median(table.resources[own])) for own in (MEMORY, ENERGY)}
    each = [figures.chance_within({own: limit}) for own, limit in limits.items()]
    assert figures.chance_within(limits) == pytest.approx(each[0] * each[1])
    assert figures.chance_within({}).tolist() == [1.0] * len(table.pool)
    both = [figures.may_be_within({own: limit}) for own, limit in limits.items()]
    assert (figures.may_be_within(limits) == (both[0] & both[1])).all()
    assert figures.may_be_within({}).all()


def test_an_earlier_runs_energies_are_begun_with():
    """Another board that draws twice as much: after eight measurements what it taught is worth more than they are."""
    errors = {}
    for seed in range(4):
        table, _ = of_seed(seed)
        rows, energy = covering(table.widths, 8, seed), table.resources[ENERGY]
        taught = covering(table.widths, 48, seed)
        source = Source("elsewhere", table.widths[taught], 2.0 * energy[taught])
        for name, experience in (("cold", Experience()), ("warm", Experience(resources={ENERGY: (source,)}))):
            expected = [own.value for own in forecast_of(table, rows, experience=experience).resource(ENERGY)]
            errors.setdefault(name, []).append(np.sqrt(np.mean((np.asarray(expected) / energy - 1.0) ** 2)))
    assert np.mean(errors["warm"]) < 0.7 * np.mean(errors["cold"])
