"""At the end, latencies that the order turns on are measured again, until it is decided or the time is spent."""

from types import SimpleNamespace

import pytest

from scbp_host.config import RunConfig
from scbp_host.events import ignore
from scbp_host.stages.deciding import MOST_REPEATS, Deciding
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.summary import summarise

REPEAT_S = 2.0


class Bench:
    """Gives every network the ratio it has in truth, in no time of its own; remembers what was asked."""

    def __init__(self, run, truth, off=0.01):
        self.run, self.truth, self.off = run, truth, off
        self.now_s, self.asked = 0.0, []

    def measure_again(self, own, turn):
        if any(row.subject == f"{own}/{turn}" for row in self.run.store.outcomes(self.run.run_id, "verify-again")):
            return
        self.now_s += REPEAT_S
        self.asked.append(own)
        known = next(each.candidate for each in self.run.standing().candidates if each.id == own)
        self.run.again("verify", known, turn, self.truth[own], off=self.off)


@pytest.fixture
def trained(run, candidate):
    """Return three trained structures: two that overlap in latency, and one that is far from both."""
    run.begin()
    run.train(candidate(1.0, 1.0), 1.0, 0.99)
    own = [candidate(*ratios) for ratios in ((0.5, 1.0), (1.0, 0.5), (0.25, 0.25))]
    run.propose(1, "train", *own)
    for each, ratio, top1, off in zip(own, (0.5, 0.51, 0.2), (0.5, 0.95, 0.2), (0.04, 0.04, 0.01), strict=True):
        run.train(each, ratio, top1, off=off)
    return [each.structure_id for each in own]


@pytest.fixture
def decide(run):
    """Decide as a run at its end, or resumed there."""

    def decide_with(bench, decide_seconds=100.0):
        config = RunConfig(max_accuracy_drop=100.0, decide_seconds=decide_seconds)
        context = SimpleNamespace(config=config, ledger=Ledger(run.store, run.run_id, ignore), listen=ignore)
        Deciding(context, bench, run.standing, lambda: bench.now_s).run()

    return decide_with


def order_of(run):
    return summarise(run.store, run.run_id).order


def test_who_overlaps_is_measured_until_it_is_told_apart(run, trained, decide):
    one, two, far = trained
    bench = Bench(run, {one: 0.48, two: 0.53, far: 0.2})
    decide(bench)
    assert set(bench.asked) <= {one, two}
    assert bench.asked
    first, second, _ = (known.measurement.ratio for known in run.standing().candidates)
    assert first.high < second.value
    order = order_of(run)
    assert (order.repeats, order.open) == (len(bench.asked), 0)
    assert order.text.startswith("no latency leaves the order open")


def test_twins_are_given_up_after_some_repeats(run, trained, decide):
    one, two, far = trained
    bench = Bench(run, {one: 0.51, two: 0.51, far: 0.2})
    decide(bench)
    assert sorted(bench.asked) == sorted([one, two] * MOST_REPEATS)
    one, two, _ = (known.measurement.ratio for known in run.standing().candidates)
    assert max(one.relative_half_width, two.relative_half_width) < 0.6 * bench.off, "four count together"
    assert order_of(run).open == 2
    assert "however often measured" in order_of(run).text


def test_nothing_is_begun_that_would_end_too_late(run, trained, decide):
    one, two, far = trained
    bench = Bench(run, {one: 0.51, two: 0.51, far: 0.2})
    decide(bench, decide_seconds=2.5 * REPEAT_S)
    assert len(bench.asked) == 2
    assert order_of(run).text == "2 latencies still leave the order open (2 measured again in 4 s)"


def test_no_time_means_no_repeat(run, trained, decide):
    bench = Bench(run, {})
    decide(bench, decide_seconds=0.0)
    assert bench.asked == []
    assert order_of(run).open == 2


def test_a_resumed_run_measures_only_what_is_left(run, trained, decide):
    one, two, far = trained
    truth = {one: 0.51, two: 0.51, far: 0.2}
    decide(Bench(run, truth), decide_seconds=2.5 * REPEAT_S)
    rows = run.store.outcomes(run.run_id)
    again = Bench(run, truth)
    decide(again, decide_seconds=2.5 * REPEAT_S)
    assert again.asked == []
    assert run.store.outcomes(run.run_id) == rows


def test_before_anything_is_trained_nothing_is_open(run, candidate, decide):
    run.begin()
    run.train(candidate(1.0, 1.0), 1.0, 0.99)
    decide(Bench(run, {}))
    assert order_of(run).open == 0
