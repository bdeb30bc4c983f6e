from __future__ import annotations

import gc

import pytest

from scbp_agent import timing


class RecordingClock:
    """A clock that only the models move, so that what was run, in which order, for how long, is exact."""

    def __init__(self, monkeypatch):
        self.now_ns = 0
        self.order = ""
        monkeypatch.setattr(timing, "now_ns", lambda: self.now_ns)

    def subject(self, letter, duration_ns, inputs=("x",)):
        def run(_array):
            self.now_ns += duration_ns
            self.order += letter

        return timing.Subject(run, list(inputs))


@pytest.fixture
def clock(monkeypatch):
    return RecordingClock(monkeypatch)


def test_blocks_alternate_in_the_order_abba(clock):
    candidate, reference = clock.subject("C", 100), clock.subject("R", 100)
    samples = timing.time_paired(candidate, reference, timing.PairedSchedule(4, 200, 300))
    warmup, blocks = clock.order[:6], clock.order[6:]
    assert warmup == "RCRCRC"
    assert blocks == "RRCCCCRRRRCCCCRR"
    assert samples.candidate_blocks_ns == samples.reference_blocks_ns == [[100, 100]] * 4
    assert samples.candidate_warmup_ns == samples.reference_warmup_ns == [100] * 3


def test_each_model_fills_the_block_with_runs_of_its_own(clock):
    candidate, reference = clock.subject("C", 100), clock.subject("R", 400)
    samples = timing.time_paired(candidate, reference, timing.PairedSchedule(2, 2000, 1000))
    assert [sum(block) for block in samples.candidate_blocks_ns] == [2000, 2000]
    assert [sum(block) for block in samples.reference_blocks_ns] == [2000, 2000]
    assert sum(samples.candidate_warmup_ns) == 1000
    assert sum(samples.reference_warmup_ns) == 1200


def test_slow_model_still_gets_two_runs_a_block_and_three_to_warm_up(clock):
    candidate, reference = clock.subject("C", 10**9), clock.subject("R", 10**9)
    samples = timing.time_paired(candidate, reference, timing.PairedSchedule(2, 1000, 1))
    assert [len(block) for block in samples.candidate_blocks_ns] == [2, 2]
    assert len(samples.candidate_warmup_ns) == 3


def test_inputs_are_cycled_through():
    seen = []
    timing.time_runs(timing.Subject(seen.append, ["a", "b", "c"]), 7)
    assert seen == list("abcabca")


def test_garbage_collection_is_off_while_timing_and_on_again_after_a_failure():
    states = []

    def run(_array):
        states.append(gc.isenabled())
        if len(states) == 5:
            raise RuntimeError("the model failed")

    subject = timing.Subject(run, ["x"])
    with pytest.raises(RuntimeError):
        timing.time_paired(subject, subject, timing.PairedSchedule(2, 1, 1))
    assert not any(states)
    assert gc.isenabled()


def test_clock_too_coarse_for_the_model_reads_one_ns_not_none(clock):
    assert timing.time_runs(clock.subject("C", 0), 2) == [1, 1]
