from __future__ import annotations

import gc

import pytest

from scbp_agent import timing


class RecordingClock:
    """A clock that only the models move, so that what was run, in which order, for how long, is exact."""

    def __init__(self, monkeypatch):
        self.now_ns = 0
        self.order = ""
        self.slept_ns = 0
        monkeypatch.setattr(timing, "now_ns", lambda: self.now_ns)
        monkeypatch.setattr(timing.time, "sleep", self._sleep)

    def _sleep(self, seconds):
        assert seconds > 0
        # A kernel wakes nobody on the nanosecond: some too early, which is the caller's to notice, some late.
        slept_ns = max(1, round(seconds * 1e9) - 3)
        self.now_ns += slept_ns
        self.slept_ns += slept_ns

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
    of_reference, of_candidate = timing.time_round([reference, candidate], timing.PairedSchedule(4, 200, 300)).models
    warmup, blocks = clock.order[:6], clock.order[6:]
    assert warmup == "RCRCRC"
    assert blocks == "RRRCCCCCCRRRRRRCCCCCCRRR", "the first run of each block is no part of it"
    assert of_candidate.blocks_ns == of_reference.blocks_ns == [[100, 100]] * 4
    assert of_candidate.warmup_ns == of_reference.warmup_ns == [100] * (3 + 4)


def test_several_go_forth_and_back(clock):
    subjects = [clock.subject(letter, 100) for letter in "RABC"]
    samples = timing.time_round(subjects, timing.PairedSchedule(4, 200, 300))
    assert clock.order[12:] == "RRRAAABBBCCCCCCBBBAAARRR" * 2
    assert [own.blocks_ns for own in samples.models] == [[[100, 100]] * 4] * 4


def test_each_model_fills_the_block_with_runs_of_its_own(clock):
    candidate, reference = clock.subject("C", 100), clock.subject("R", 400)
    of_reference, of_candidate = timing.time_round([reference, candidate], timing.PairedSchedule(2, 2000, 1000)).models
    assert [sum(block) for block in of_candidate.blocks_ns] == [2000, 2000]
    assert [sum(block) for block in of_reference.blocks_ns] == [2000, 2000]
    assert sum(of_candidate.warmup_ns) == 1000 + 2 * 100
    assert sum(of_reference.warmup_ns) == 1200 + 2 * 400


@pytest.mark.parametrize(("sampling_ns", "blocks"), [(None, 2), (2400, 2), (4800, 4), (7199, 4), (7200, 6), (7500, 6)])
def test_fast_models_get_as_many_blocks_as_there_is_time_for(clock, sampling_ns, blocks):
    # With its first run a block of the one takes 1000 + 100, of the other 1000 + 200; 1150 on average.
    subjects = [clock.subject("C", 100), clock.subject("R", 200)]
    schedule = timing.PairedSchedule(2, 1000, 300, sampling_ns=sampling_ns and sampling_ns * 1150 // 1200)
    samples = timing.time_round(subjects, schedule)
    assert [len(own.blocks_ns) for own in samples.models] == [blocks] * 2


def test_at_a_cameras_rate_waiting_counts_as_sampling(clock):
    subjects = [clock.subject("C", 100), clock.subject("R", 100)]
    # Two runs and the first, a frame each: 3000 a block.
    schedule = timing.PairedSchedule(2, 200, 1, period_ns=1000, sampling_ns=12_500)
    assert len(timing.time_round(subjects, schedule).models[0].blocks_ns) == 4


def test_slow_model_still_gets_two_runs_a_block_and_three_to_warm_up(clock):
    candidate, reference = clock.subject("C", 10**9), clock.subject("R", 10**9)
    samples = timing.time_round([reference, candidate], timing.PairedSchedule(2, 1000, 1))
    assert [len(block) for block in samples.models[1].blocks_ns] == [2, 2]
    assert len(samples.models[1].warmup_ns) == 3 + 2


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
        timing.time_round([subject, subject], timing.PairedSchedule(2, 1, 1))
    assert not any(states)
    assert gc.isenabled()


def test_clock_too_coarse_for_the_model_reads_one_ns_not_none(clock):
    assert timing.time_runs(clock.subject("C", 0), 2) == [1, 1]


def ramp(clock, start_ns, step_ns, until_ns):
    """A model that gets faster from run to run, as while a clock ramps up."""
    durations = iter([*range(start_ns, until_ns, -step_ns), *[until_ns] * 10_000])

    def run(_array):
        clock.now_ns += next(durations)

    return timing.Subject(run, ["x"])


def test_a_warm_up_lasts_until_the_latency_does_not_drift(clock):
    (samples,) = timing.warm_up([ramp(clock, 2000, 100, 1000)], 1, 10**9, timing.Pace(None))
    assert samples[:3] == [2000, 1900, 1800]
    assert 1000 in samples
    assert len(samples) < 40
    assert timing.is_steady(samples)


def test_a_warm_up_that_never_gets_steady_ends_at_its_limit(clock):
    (samples,) = timing.warm_up([ramp(clock, 10**6, 10_000, 1)], 1, 4 * 10**7, timing.Pace(None))
    assert 4 * 10**7 <= sum(samples) < 4.1 * 10**7
    assert timing.is_drifting(samples)
    assert not timing.is_steady(samples)


def test_a_warm_up_takes_what_it_must_even_where_it_is_steady(clock):
    (samples,) = timing.warm_up([clock.subject("C", 100)], 2500, 10**9, timing.Pace(None))
    assert sum(samples) == 2500


@pytest.mark.parametrize(
    ("samples", "drifts"),
    [
        ([1000] * 20, False),
        ([1000] * 10 + [1015] * 10, False),
        ([1000] * 10 + [1030] * 10, True),
        ([1000] * 10 + [970] * 10, True),
        ([1000, 900, 1100, 1300, 800] * 2 + [1050, 950, 1150, 1350, 850] * 2, False),
        ([1000] * 19, False),
        ([5000] * 30 + [1000] * 60, False),
        # 1.5 % in each ten runs, which neighbouring windows of ten take for level.
        ([1000 - 15 * (own // 10) for own in range(60)], True),
    ],
)
def test_a_drift_is_more_than_two_percent_and_more_than_the_spread_explains(samples, drifts):
    assert timing.is_drifting(samples) is drifts


def test_too_few_samples_are_not_called_steady():
    assert timing.is_steady([1000] * 20)
    assert not timing.is_steady([1000] * 19)


def test_warm_ups_that_still_drift_are_counted(clock):
    schedule = timing.PairedSchedule(2, 1, 1, warmup_limit_ns=4 * 10**7)
    candidate, reference = ramp(clock, 10**6, 10_000, 1), clock.subject("R", 10**6)
    assert timing.time_round([reference, candidate], schedule).unsteady_warmups == 1


def starts(clock, durations_ns, period_ns):
    """Run once for each duration at the pace; returns when each began, and how many periods were missed."""
    began, pace = [], timing.Pace(period_ns)
    pending = iter(durations_ns)

    def run(_array):
        began.append(clock.now_ns)
        clock.now_ns += next(pending)

    timing.time_runs(timing.Subject(run, ["x"]), len(durations_ns), pace)
    return began, pace.missed


def test_runs_begin_at_multiples_of_the_period_however_long_they_are(clock):
    assert starts(clock, [10, 90, 99, 20, 1], 100) == ([0, 100, 200, 300, 400], 0)


def test_who_is_late_waits_for_the_next_frame_and_the_missed_ones_are_counted(clock):
    assert starts(clock, [10, 250, 10, 101, 10], 100) == ([0, 100, 400, 500, 700], 3)


def test_a_run_of_exactly_a_period_misses_none(clock):
    assert starts(clock, [100, 100, 100], 100) == ([0, 100, 200], 0)


def test_waiting_is_in_no_sample(clock):
    samples = timing.time_runs(clock.subject("C", 40), 5, timing.Pace(1000))
    assert samples == [40] * 5
    assert clock.slept_ns >= 4 * 960


def test_a_tight_loop_never_waits(clock):
    timing.time_round([clock.subject("R", 40), clock.subject("C", 40)], timing.PairedSchedule(2, 400, 100))
    assert clock.slept_ns == 0


def test_a_pair_takes_turns_at_the_pace_and_a_block_is_some_frames(clock):
    candidate, reference = clock.subject("C", 100), clock.subject("R", 2500)
    samples = timing.time_round([reference, candidate], timing.PairedSchedule(2, 10**6, 1, period_ns=1000))
    assert [len(block) for own in samples.models for block in own.blocks_ns] == [5] * 4
    assert clock.order[6:] == "RRRRRRCCCCCCCCCCCCRRRRRR"
    # Each of the reference's runs lasts for two frames more; what a last one misses, nobody waits for.
    assert samples.missed_periods == 2 * (3 + 6 + 6 - 1)


def test_a_loop_lasts_as_long_as_it_must_and_has_as_many_runs(clock):
    assert len(timing.time_loop(clock.subject("C", 100), 3, 1000, timing.Pace(None))) == 10
    assert len(timing.time_loop(clock.subject("C", 100), 3, 0, timing.Pace(None))) == 3
    assert len(timing.time_loop(clock.subject("C", 100), 3, 1000, timing.Pace(200))) == 6
