"""A run's superblocks are binned once; what is stored stands."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scbp_host.config import RunConfig
from scbp_host.errors import UsageError
from scbp_host.events import ignore
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage, bin_layers
from scbp_host.space.survey import survey_seed
from scbp_host.stages.binning import acknowledge_superblocks, bin_offline, binning_name
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.space import acknowledge_space, make_space

SPEC = seed_spec("resnet18", 10, (3, 32, 32))


@pytest.fixture(scope="module")
def survey():
    return survey_seed(SPEC)


@pytest.fixture
def context(store):
    """Make what the stage sees of a run; one ledger for all configurations, as if each resumed the one before."""
    store.create_run("r1", {})
    ledger = Ledger(store, "r1", ignore)

    def make(**config):
        return SimpleNamespace(config=RunConfig(**config), ledger=ledger, client=SimpleNamespace(bytes_shipped=0))

    return make


def test_a_resumed_run_has_the_superblocks_that_were_acknowledged(context, survey):
    first = acknowledge_superblocks(context(binning="macs", superblocks=5), survey)
    assert first == bin_layers(survey, "macs", 5).superblocks
    assert acknowledge_superblocks(context(binning="params", superblocks=3), survey) == first


def test_a_run_begun_before_there_was_a_choice_keeps_its_stages(context, survey):
    stages = bin_by_stage(SPEC)
    acknowledge_space(context().ledger, make_space(SPEC, stages, (1.0, 0.5), 8), (), 0)
    assert acknowledge_superblocks(context(binning="macs", superblocks=5), survey) == stages


def test_what_moved_is_acknowledged_too(context, survey):
    made = context(binning="macs", superblocks=2)
    acknowledge_superblocks(made, survey)
    (payload,) = made.ledger.payloads("binning").values()
    assert payload["method"] == "macs"
    assert tuple(payload["moved"]) == bin_layers(survey, "macs", 2).moved != ()
    assert payload["latency_ns"] is payload["unattributed_share"] is None


def test_what_no_device_could_mend_is_refused_without_one(survey):
    assert len(bin_offline(survey, RunConfig(binning="latency", superblocks=7)).superblocks) == 7
    with pytest.raises(UsageError, match="expected from 1 to 12"):
        bin_offline(survey, RunConfig(binning="latency", superblocks=13))
    with pytest.raises(UsageError, match="names no prunable layer"):
        bin_offline(survey, RunConfig(binning={"a": ["nowhere"], "b": ["*"]}))


def test_a_table_is_called_names():
    assert binning_name({"a": ("x",)}) == "names"
    assert binning_name("latency") == "latency"
