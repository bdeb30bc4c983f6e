"""What earlier runs measured is found in the store, and helps the search of a later one."""

import itertools

import numpy as np
import pytest

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.latency.transfer import Experience
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.search.base import Limits, Observation, Problem, Purpose
from scbp_host.search.one_shot import OneShotSearch, relative_widths
from scbp_host.stages.precedents import LEAST_MEASURED, MOST_RUNS, precedents
from scbp_host.store import RunStatus

RATIOS = (1.0, 0.75, 0.5, 0.25)
EVERYWHERE = "2999"


def latency(first, second):
    """A staircase: where the second superblock is as wide as the first, it is slow."""
    return 0.1 + 0.3 * first + 0.6 * first * second * (1.5 if first == second else 1.0)


@pytest.fixture
def pool(candidate):
    return [candidate(*own) for own in itertools.product(RATIOS, repeat=2) if own != (1.0, 1.0)]


@pytest.fixture
def finished(store, run, pool, candidate):
    """Append a run on a board that is four times as slow; returns how to append more."""

    def append(name, candidates=pool, status=RunStatus.FINISHED, energy_mj=None, **config):
        own = type(run)(store, name)
        own.begin(with_groups=True, **config).measure(candidate(1.0, 1.0), 1.0, reference_ns=(4_000_000,))
        own.propose(1, "measure", *candidates)
        for one in candidates:
            ratio = latency(*one.ratios) / latency(1.0, 1.0)
            told = {"energy_mj": energy_mj(ratio)} if energy_mj else {}
            own.measure(one, ratio, reference_ns=(4_000_000,), peak_mb=30 + 20 * one.ratios[0], **told)
        store.finish_run(name, status)

    return append


def test_a_finished_run_teaches_latency_and_memory_over_relative_widths(store, finished, pool):
    finished("r1", device="jetson-nano")
    taught = precedents(store, EVERYWHERE, 2)
    (found,), (memory,) = taught.latency, taught.resources[MEMORY]
    assert "jetson-nano" in found.name
    assert "resnet18" in found.name
    known = dict(zip(map(tuple, found.widths.tolist()), found.values.tolist(), strict=True))
    assert len(known) == len(pool) + 1
    assert known[(0.5, 0.25)] == pytest.approx(latency(0.5, 0.25) / latency(1.0, 1.0))
    assert known[(1.0, 1.0)] == 1.0
    assert dict(zip(map(tuple, memory.widths.tolist()), memory.values.tolist(), strict=True))[(0.5, 1.0)] == 40.0
    assert ENERGY not in taught.resources


def test_where_a_board_told_energies_they_are_taught_too(store, finished, pool):
    finished("silent")
    finished("mostly", energy_mj=lambda ratio: 20.0 * ratio if ratio < 0.6 else 0.0)
    finished("once", pool, energy_mj=lambda ratio: 0.0 if ratio > 0.2 else 3.0)
    (energy,) = precedents(store, EVERYWHERE, 2).resources[ENERGY]
    assert energy.name.endswith("run mostly")
    assert len(precedents(store, EVERYWHERE, 2).latency) == len(precedents(store, EVERYWHERE, 2).resources[MEMORY]) == 3
    ratio = latency(0.5, 0.25) / latency(1.0, 1.0)
    assert dict(zip(map(tuple, energy.widths.tolist()), energy.values, strict=True))[0.5, 0.25] == pytest.approx(
        20 * ratio
    )
    assert LEAST_MEASURED <= len(energy.values) < len(pool)


def test_what_is_younger_unfinished_small_or_of_other_superblocks_teaches_nothing(store, finished, pool):
    finished("unfinished", status=RunStatus.RUNNING)
    finished("small", pool[: LEAST_MEASURED - 2])
    assert precedents(store, EVERYWHERE, 2) == Experience()
    finished("good")
    assert len(precedents(store, EVERYWHERE, 2).latency) == 1
    assert precedents(store, EVERYWHERE, 3) == Experience()
    assert precedents(store, store.run("good").created_at, 2) == Experience()


def test_only_the_newest_runs_count(store, finished, pool):
    for number in range(MOST_RUNS + 2):
        finished(f"run-{number}", pool[: LEAST_MEASURED - 1])
    names = [own.name.split()[-1] for own in precedents(store, EVERYWHERE, 2).latency]
    assert names == [f"run-{number}" for number in range(MOST_RUNS + 1, 1, -1)]


def test_with_them_a_search_knows_what_it_has_not_measured(store, finished, pool):
    """After five measurements: which pairs are slow is not among them."""
    finished("r1", device="jetson-nano")
    errors = {}
    for name, experience in (("cold", Experience()), ("warm", precedents(store, EVERYWHERE, 2))):
        search = _search(pool, experience)
        search.observe([_observation(own) for own in search.propose(Purpose.MEASURE, 5).candidates])
        errors[name] = search.propose(Purpose.TRAIN, 1).model.largest_error
    assert errors["warm"] < 0.3 * errors["cold"]


def _search(pool, experience):
    widths = relative_widths(pool, [{"conv1": 64}, {"layer4": 512}])
    prior = prior_of_importance(np.prod(widths, axis=1), widths)
    return OneShotSearch(Problem(pool, widths, prior, Limits(), 0.9, 0, experience))


def _observation(own):
    value = latency(*own.ratios)
    interval = Interval(value, 0.99 * value, 1.01 * value)
    return Observation(own, interval, {MEMORY: 20.0}, 4000)
