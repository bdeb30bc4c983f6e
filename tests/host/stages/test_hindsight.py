"""What an earlier run measured, as figures that a filter can ask for."""

from __future__ import annotations

import itertools

import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import FilteredSet
from scbp_host.stages.hindsight import learned_figures
from scbp_host.stages.space import make_space
from scbp_host.store import STORE_FILE, RunStatus

SPEC = SeedSpec("resnet18", 10, (3, 32, 32))
BLOCKS = (
    Superblock("early", (8, 8), (ChannelGroup("conv1", 64, ("conv1",)),)),
    Superblock("late", (1, 1), (ChannelGroup("layer4", 512, ("layer4",)),)),
)
RATIOS = (1.0, 0.75, 0.5, 0.25)
MEASURED = [own for own in itertools.product(RATIOS, RATIOS) if own not in ((1.0, 1.0), (0.5, 0.25))]


def latency_ratio(early: float, late: float) -> float:
    """Of the form that the additive model has, but for a stair that it cannot see. The seed takes 1 ms."""
    return 0.1 + 0.3 * early**2 + 0.6 * early * late + 0.02 * (late == 0.75)


def peak_mb(early: float, late: float) -> float:
    return 20 + 10 * early + 20 * late**2


@pytest.fixture
def config(tmp_path):
    """A configuration whose store is the fixtures'."""
    return RunConfig(out=tmp_path)


@pytest.fixture
def finished(run, store, candidate):
    """A finished run that measured all but one structure."""
    run.begin()
    run.train(candidate(1.0, 1.0), 1.0, 0.9, peak_mb=peak_mb(1.0, 1.0))
    run.propose(1, "measure", *(candidate(*own) for own in MEASURED))
    for own in MEASURED:
        run.measure(candidate(*own), latency_ratio(*own), peak_mb=peak_mb(*own))
    return store.finish_run(run.run_id, RunStatus.FINISHED)


def figures(config, before=None):
    return learned_figures(config, SPEC, BLOCKS, 8, before)


@pytest.mark.usefixtures("finished")
def test_what_was_measured_is_known_and_the_rest_is_predicted(config):
    learned = figures(config)
    for own in MEASURED:
        assert learned["latency_ms"](own) == pytest.approx(latency_ratio(*own), rel=1e-9)
        assert learned["memory_mb"](own) == pytest.approx(peak_mb(*own), rel=1e-6)
    assert learned["latency_ms"]((0.5, 0.25)) == pytest.approx(latency_ratio(0.5, 0.25), rel=0.1)
    assert learned["memory_mb"]((0.5, 0.25)) == pytest.approx(peak_mb(0.5, 0.25), rel=0.02)


@pytest.mark.usefixtures("finished")
def test_other_superblocks_than_the_runs_own_are_no_matter(config):
    whole = (Superblock("all", (8, 8), tuple(group for block in BLOCKS for group in block.groups)),)
    learned = learned_figures(config, SPEC, whole, 8)
    assert learned["latency_ms"]((0.5,)) == pytest.approx(latency_ratio(0.5, 0.5), rel=1e-9)


@pytest.mark.usefixtures("finished")
def test_a_set_as_text_is_thinned_out_by_them(config):
    text = "where(product(1, 0.75, 0.5, 0.25), max_latency_ms=0.5, min_memory_mb=30)"
    space = make_space(SPEC, BLOCKS, text, 8, figures(config))
    assert isinstance(space.ratio_set, FilteredSet)
    expected = [own for own in itertools.product(RATIOS, RATIOS) if latency_ratio(*own) <= 0.5 and peak_mb(*own) >= 30]
    assert list(space.ratio_set) == expected
    assert 0 < len(expected) < 16
    size = space.estimate_size()
    assert (size.value, size.exact) == (len(expected), True)


@pytest.mark.usefixtures("finished")
def test_a_filter_on_energy_needs_a_run_whose_board_told_it(config, run, candidate):
    with pytest.raises(UsageError, match=r"a filter on energy_mj needs what .* on 'local' that tells it"):
        figures(config)["energy_mj"]((1.0, 0.5))
    older = type(run)(run.store, "told")
    older.begin().train(candidate(1.0, 1.0), 1.0, 0.9, energy_mj=20.0)
    older.propose(1, "measure", *(candidate(*own) for own in MEASURED))
    for own in MEASURED:
        older.measure(candidate(*own), latency_ratio(*own), energy_mj=20 * latency_ratio(*own))
    older.store.finish_run("told", RunStatus.FINISHED)
    learned = figures(config)
    assert learned["energy_mj"]((0.75, 0.5)) == pytest.approx(20 * latency_ratio(0.75, 0.5))
    assert learned["energy_mj"]((0.5, 0.25)) == pytest.approx(20 * latency_ratio(0.5, 0.25), rel=0.1)
    text = "where(product(1, 0.5), max_energy_mj=8)"
    space = make_space(SPEC, BLOCKS, text, 8, learned)
    assert list(space.ratio_set) == [
        own for own in itertools.product((1.0, 0.5), repeat=2) if 20 * latency_ratio(*own) <= 8
    ]


def test_a_run_learns_from_those_before_it_only(config, finished):
    assert figures(config, before="2999")["latency_ms"]((1.0, 0.5)) > 0
    with pytest.raises(UsageError, match="no finished run"):
        figures(config, before=finished.created_at)["latency_ms"]((1.0, 0.5))


@pytest.mark.parametrize("other", [{"device": "jetson-nano"}, {"out": "elsewhere"}])
def test_no_such_run_is_an_error_before_anything_is_done(config, finished, other, tmp_path):
    if "out" in other:
        other = {"out": tmp_path / other["out"]}
    text = "where(product(1, 0.5), max_latency_ms=0.5)"
    asked = config.model_copy(update=other)
    with pytest.raises(UsageError, match="latency_ms needs what an earlier run has measured") as caught:
        make_space(SPEC, BLOCKS, text, 8, figures(asked))
    assert str(asked.out / STORE_FILE) in caught.value.message
    assert "--latency-budget" in caught.value.hint


def test_a_run_that_is_not_finished_teaches_nothing(config, run, candidate):
    run.begin().propose(1, "measure", candidate(1.0, 0.5))
    run.measure(candidate(1.0, 0.5), 0.5)
    with pytest.raises(UsageError, match="no finished run of 'resnet18' on 'local'"):
        figures(config)["latency_ms"]((1.0, 0.5))


@pytest.mark.usefixtures("finished")
def test_latencies_at_another_rate_do_not_compare(config):
    with pytest.raises(UsageError, match=r"no finished run of 'resnet18' on 'local' at 30 Hz"):
        figures(config.model_copy(update={"rate": 30.0}))["latency_ms"]((1.0, 0.5))
