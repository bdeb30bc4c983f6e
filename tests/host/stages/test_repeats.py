"""What was disturbed is measured again: after the others, twice at most, each decision acknowledged."""

from types import SimpleNamespace

import pytest

from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.repeats import settle

QUIET, SLOW = (1_000_000,) * 3, (2_000_000,) * 3
LOST = Failure(FailureKind.WORKER_CRASHED, "the worker ended with signal 11", "run it again")


class Device:
    """Gives what it is told to, one answer after the other, and remembers who was asked about."""

    bytes_shipped = 0

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def measure_again(self, candidate, earlier):
        self.bytes_shipped += 7
        self.asked.append((candidate.structure_id, earlier.ratio.value))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, Failure) else Measurement.from_json(answer)


@pytest.fixture
def batch(run, candidate):
    """Four measured structures, by id; the second and the last were disturbed."""
    run.begin()
    own = [candidate(*ratios) for ratios in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (0.25, 0.5))]
    run.propose(1, "measure", *own)
    for one, reference_ns in zip(own, (QUIET, SLOW, QUIET, SLOW), strict=True):
        run.measure(one, 0.9, reference_ns=reference_ns)
    return {one.structure_id: one for one in own}


@pytest.fixture
def settled(run, batch):
    """Settle the batch with a device's answers; returns the events heard."""

    def settle_with(device, stage="measure", title="spread"):
        heard = []
        ledger = Ledger(run.store, run.run_id, heard.append)
        context = SimpleNamespace(ledger=ledger, listen=heard.append, client=device)
        settle(context, stage, title, batch, device.measure_again)
        return heard

    return settle_with


def test_the_disturbed_are_measured_again_and_their_quiet_figures_count(run, batch, settled, figures):
    _, second, _, last = batch
    device = Device(figures(0.6, QUIET), figures(0.3, QUIET))
    settled(device)
    assert device.asked == [(second, 0.9), (last, 0.9)]
    ratios = {own.candidate.structure_id: own.measurement.ratio.value for own in run.standing().candidates}
    assert [ratios[one] for one in batch] == [0.9, 0.6, 0.9, 0.3]
    rows = run.store.outcomes(run.run_id, "measure-again")
    assert [row.payload["bytes_shipped"] for row in rows] == [7, 7]


def test_who_stays_disturbed_gets_a_second_turn_and_no_third(run, batch, settled, figures):
    _, second, _, last = batch
    device = Device(figures(0.6, QUIET), figures(0.3, (1_900_000,) * 3), figures(0.2, SLOW))
    settled(device)
    assert device.asked == [(second, 0.9), (last, 0.9), (last, 0.3)]
    # The quietest of the three noisy ones stands.
    assert run.standing().candidates[-1].measurement.ratio.value == 0.3


def test_a_resumed_run_repeats_no_repeat(batch, settled, figures):
    answers = [figures(0.6, QUIET), figures(0.3, QUIET)]
    settled(Device(*answers))
    again = Device()
    settled(again)
    assert again.asked == []


def test_a_failed_repeat_leaves_the_first_measurement(run, batch, settled, figures):
    settled(Device(LOST, figures(0.3, QUIET), figures(0.5, QUIET)))
    standing = run.standing()
    assert [own.measurement.ratio.value for own in standing.candidates] == [0.9, 0.5, 0.9, 0.3]
    assert not any(own.failure for own in standing.candidates)


def test_a_quiet_batch_costs_nothing(run, batch, settled):
    for one in list(batch.values())[1::2]:
        run.again("measure", one, 0, 0.9, reference_ns=QUIET)
    device = Device()
    settled(device)
    assert device.asked == []
    assert len(run.store.outcomes(run.run_id, "measure-again")) == 2


def test_what_was_verified_is_compared_with_the_whole_run(run, batch, settled, figures):
    """All of a small batch may be disturbed; the structures measured before it tell that it was."""
    for one in batch.values():
        run.again("measure", one, 1, 0.9, reference_ns=QUIET)
        run.train(one, 0.8, 0.97, reference_ns=SLOW)
    device = Device(*(figures(0.7, QUIET) for _ in batch))
    settled(device, "verify", "round 1")
    assert [asked for asked, _ in device.asked] == list(batch)
    assert {own.measurement.ratio.value for own in run.standing().candidates} == {0.7}
