"""What was uncertain is measured again: after the others, twice at most, each decision acknowledged."""

from types import SimpleNamespace

import pytest

from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.repeats import settle

SURE, UNSURE = 0.01, 0.2
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
    """Four measured structures, by id; the second and the last are uncertain."""
    run.begin()
    own = [candidate(*ratios) for ratios in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (0.25, 0.5))]
    run.propose(1, "measure", *own)
    for one, off in zip(own, (SURE, UNSURE, SURE, UNSURE), strict=True):
        run.measure(one, 0.9, off=off)
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


def test_the_uncertain_are_measured_again_and_their_sure_figures_count(run, batch, settled, measurement):
    _, second, _, last = batch
    device = Device(measurement(0.6), measurement(0.3))
    settled(device)
    assert device.asked == [(second, 0.9), (last, 0.9)]
    ratios = {own.candidate.structure_id: own.measurement.ratio.value for own in run.standing().candidates}
    assert [ratios[one] for one in batch] == [0.9, 0.6, 0.9, 0.3]
    rows = run.store.outcomes(run.run_id, "measure-again")
    assert [row.payload["bytes_shipped"] for row in rows] == [7, 7]


def test_who_stays_uncertain_gets_a_second_turn_and_no_third(run, batch, settled, measurement):
    _, second, _, last = batch
    device = Device(measurement(0.6), measurement(0.3, off=0.1), measurement(0.2, off=0.2))
    settled(device)
    assert device.asked == [(second, 0.9), (last, 0.9), (last, 0.3)]
    # The surest of the three noisy ones stands.
    assert run.standing().candidates[-1].measurement.ratio.value == 0.3


def test_a_resumed_run_repeats_no_repeat(batch, settled, measurement):
    answers = [measurement(0.6), measurement(0.3)]
    settled(Device(*answers))
    again = Device()
    settled(again)
    assert again.asked == []


def test_a_failed_repeat_leaves_the_first_measurement(run, batch, settled, measurement):
    settled(Device(LOST, measurement(0.3), measurement(0.5)))
    standing = run.standing()
    assert [own.measurement.ratio.value for own in standing.candidates] == [0.9, 0.5, 0.9, 0.3]
    assert not any(own.failure for own in standing.candidates)


def test_a_certain_batch_costs_nothing(run, batch, settled):
    for one in list(batch.values())[1::2]:
        run.again("measure", one, 0, 0.9, off=SURE)
    device = Device()
    settled(device)
    assert device.asked == []
    assert len(run.store.outcomes(run.run_id, "measure-again")) == 2


def test_each_stage_is_settled_by_itself(run, batch, settled, measurement):
    for one in batch.values():
        run.train(one, 0.8, 0.97, off=UNSURE)
    device = Device(*(measurement(0.7) for _ in batch))
    settled(device, "verify", "round 1")
    assert device.asked == [(one, 0.8) for one in batch]
    assert {own.measurement.ratio.value for own in run.standing().candidates} == {0.7}
