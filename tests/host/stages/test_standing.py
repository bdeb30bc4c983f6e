import pytest

from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.ranking.budgets import Budgets
from scbp_host.stages.ranked import rank

ONE_POINT = Budgets(accuracy_drop_points=1.0)
PARITY = Failure(FailureKind.PARITY_FAILED, "outputs differ by 0.3", "try opset 13")


@pytest.fixture
def seeded(run, candidate):
    """A run whose seed is trained; its own samples are 1 ms."""
    run.begin()
    return run.train(candidate(1.0, 1.0), 1.0, 0.99)


def test_the_references_p50_is_the_median_over_its_every_sample(run, candidate):
    run.begin()
    seed, own = candidate(1.0, 1.0), candidate(0.5, 0.5)
    run.measure(seed, 1.0, reference_ns=(1, 2, 3))
    run.propose(1, "measure", own)
    run.measure(own, 0.5, reference_ns=(10, 20))
    run.train(own, 0.5, 0.98, reference_ns=(100, 200, 300, 400))
    # 1 2 3 10 20 100 200 300 400; medians of medians would give another figure.
    assert run.standing().reference_p50_ns == 20


def test_a_latency_is_the_ratio_times_the_pooled_p50(seeded, candidate):
    own = candidate(0.5, 0.5)
    seeded.propose(1, "train", own)
    # Its own session was on a machine half as fast: 4 ms of samples, a ratio of 0.5.
    seeded.train(own, 0.5, 0.98, reference_ns=(1_000_000,) * 5, own_ns=(8_000_000,))
    standing = seeded.standing()
    (known,) = standing.candidates
    latency = standing.latency_ms(known)
    assert (latency.value, latency.low, latency.high) == pytest.approx((0.5, 0.495, 0.505))
    reference = standing.latency_ms(standing.seed)
    assert (reference.value, reference.low, reference.high) == (1.0, 1.0, 1.0)


def test_the_measurement_with_real_weights_replaces_the_structures(seeded, candidate):
    own = candidate(0.5, 0.5)
    seeded.propose(1, "train", own)
    seeded.measure(own, 0.7, onnx_bytes=1, peak_mb=10.0)
    assert seeded.standing().candidates[0].measurement.ratio.value == 0.7
    seeded.train(own, 0.5, 0.98, onnx_bytes=2, peak_mb=20.0)
    standing = seeded.standing()
    point = standing.objectives(standing.candidates[0])
    assert (point.latency_ms.value, point.memory_mb, point.onnx_bytes) == (0.5, 20.0, 2)


def test_the_surest_of_repeated_measurements_counts(seeded, candidate):
    own = candidate(0.5, 0.5)
    seeded.propose(1, "train", own)
    seeded.measure(own, 0.7, reference_ns=(2_000_000,) * 3, off=0.2)
    seeded.again("measure", own, 1, 0.5, reference_ns=(1_000_000,) * 3, off=0.02)
    seeded.again("measure", own, 2, 0.6, reference_ns=(1_500_000,) * 3, off=0.1)
    standing = seeded.standing()
    (known,) = standing.candidates
    assert known.measurement.ratio.value == 0.5
    observation = standing.observation(known)
    assert observation.floor_ratio == pytest.approx(0.5)
    # What does not count is no part of the reference's p50 either: the seed's own sample and the three sure ones are.
    assert standing.reference_p50_ns == 1_000_000
    # With real weights another stage counts, however sure the structure's measurements were.
    seeded.train(own, 0.8, 0.98, off=0.3)
    assert seeded.standing().candidates[0].measurement.ratio.value == 0.8
    seeded.again("verify", own, 1, 0.9, off=0.4)
    assert seeded.standing().candidates[0].measurement.ratio.value == 0.8
    seeded.again("verify", own, 2, 0.55, off=0.25)
    assert seeded.standing().candidates[0].measurement.ratio.value == 0.55


@pytest.fixture
def paired(run, candidate):
    """A run with a reference of its own, of 1 ms, against which the seed took 4, 5 and 4.5 times as long."""
    run.begin(reference=candidate(0.5, 0.5))
    seed = candidate(1.0, 1.0)
    run.measure(seed, 4.0)
    run.train(seed, 5.0, 0.99)
    run.again("measure", seed, "spread-8", 4.5)
    return run


def test_raw_samples_are_read_once_however_often_they_are_asked_for(seeded, candidate, monkeypatch):
    own, read = candidate(0.5, 0.5), []
    from_json = Measurement.from_json
    monkeypatch.setattr(Measurement, "from_json", lambda data: read.append(data) or from_json(data))
    seeded.propose(1, "train", own)
    seeded.measure(own, 0.7)
    seeded.again("measure", own, 1, 0.5)
    seeded.again("measure", own, 2, 0.51)
    standing = seeded.standing()
    (known,) = standing.candidates
    for _ in range(3):
        standing.observation(known)
        assert known.measurement.candidate_blocks_ns is known.measurement.candidate_blocks_ns
        assert len(known.every_ratio) == 3
    assert len(read) == 4, "the seed's, and three of the candidate"


@pytest.fixture
def standing(paired, candidate):
    """The same run, with one candidate measured at 0.9 ms."""
    own = candidate(0.25, 0.5)
    paired.propose(1, "train", own)
    paired.measure(own, 0.9)
    return paired.standing()


def test_a_ratio_to_the_seed_is_the_quotient_of_two_ratios_to_the_reference(standing):
    (known,) = standing.candidates
    seed_ratio = (4.0 * 5.0 * 4.5) ** (1 / 3)
    assert standing.seed_ratio.value == pytest.approx(seed_ratio)
    ratio = standing.ratio(known)
    assert ratio.value == pytest.approx(0.9 / seed_ratio)
    # The seed's own uncertainty is in it: three figures between 4 and 5 say little of the seed.
    assert ratio.low / ratio.value < standing.seed_ratio.value / standing.seed_ratio.high * 1.001
    assert ratio.high / ratio.value > standing.seed_ratio.value / standing.seed_ratio.low * 0.999
    itself = standing.ratio(standing.seed)
    assert (itself.value, itself.low, itself.high) == (1.0, 1.0, 1.0)
    assert standing.observation(known).latency_ratio.value == pytest.approx(0.9 / seed_ratio)


def test_milliseconds_are_the_references_and_hold_together_with_the_ratios(standing):
    (known,) = standing.candidates
    latency, seed = standing.latency_ms(known), standing.latency_ms(standing.seed)
    # Between candidates, the seed's uncertainty plays no part.
    assert (latency.value, latency.low, latency.high) == pytest.approx((0.9, 0.891, 0.909))
    assert latency.value == pytest.approx(standing.ratio(known).value * seed.value)
    assert seed.value == pytest.approx(standing.seed_p50_ns / 1e6)


def test_p99_is_the_candidates_own_spread_on_the_scale_of_the_pooled_p50(seeded, candidate):
    own = candidate(0.5, 0.5)
    seeded.propose(1, "train", own)
    seeded.train(own, 0.5, 0.98, reference_ns=(1_000_000,) * 3, own_ns=(4_000_000,) * 90 + (8_000_000,) * 10)
    standing = seeded.standing()
    assert standing.p99_ms(standing.candidates[0]) == pytest.approx(1.0)


def test_measured_latency_decides_where_macs_say_otherwise(seeded, candidate):
    fewer_macs, faster = candidate(0.5, 1.0), candidate(1.0, 0.5)
    seeded.propose(1, "train", fewer_macs, faster)
    seeded.train(fewer_macs, 0.8, 0.985, macs=100)
    seeded.train(faster, 0.4, 0.985, macs=900)
    ranking = rank(seeded.standing(), ONE_POINT)
    assert ranking.best.candidate == faster
    assert ranking.best.figure("macs") > seeded.standing().candidates[0].figure("macs")


def test_the_test_split_has_no_say(seeded, candidate):
    best_by_validation, best_by_test = candidate(0.5, 1.0), candidate(1.0, 0.5)
    seeded.propose(1, "train", best_by_validation, best_by_test)
    seeded.train(best_by_validation, 0.5, 0.985, test_top1=0.10)
    seeded.train(best_by_test, 0.5, 0.97, test_top1=1.0)
    for budgets in (ONE_POINT, Budgets(latency_ms=3.0), Budgets(resources={MEMORY: 60.0})):
        assert rank(seeded.standing(), budgets).best.candidate == best_by_validation


def test_other_budgets_name_another_best(seeded, candidate):
    fast, accurate = candidate(0.5, 0.5), candidate(1.0, 0.5)
    seeded.propose(1, "train", fast, accurate)
    seeded.train(fast, 0.3, 0.95, peak_mb=30.0)
    seeded.train(accurate, 0.6, 0.985, peak_mb=60.0)
    standing = seeded.standing()
    assert rank(standing, ONE_POINT).best.candidate == accurate
    assert rank(standing, Budgets(accuracy_drop_points=5.0)).best.candidate == fast
    assert rank(standing, Budgets(latency_ms=0.7)).best.candidate == accurate
    assert rank(standing, Budgets(latency_ms=0.7, resources={MEMORY: 40.0})).best.candidate == fast
    nothing = rank(standing, Budgets(resources={MEMORY: 10.0}))
    assert nothing.best is None
    assert "nearest miss: peak memory 30.0 MB" in nothing.reason
    assert nothing.meets == {fast.structure_id: False, accurate.structure_id: False}


def test_the_energy_with_real_weights_is_held_against_its_budget(seeded, candidate):
    frugal, greedy = candidate(0.5, 0.5), candidate(1.0, 0.5)
    seeded.propose(1, "train", frugal, greedy)
    seeded.measure(frugal, 0.3, energy_mj=31.0)
    seeded.train(frugal, 0.3, 0.95, energy_mj=29.0)
    seeded.measure(greedy, 0.6, energy_mj=29.0)
    seeded.train(greedy, 0.6, 0.985, energy_mj=31.0)
    ranking = rank(seeded.standing(), Budgets(resources={ENERGY: 30.0}))
    assert ranking.best.candidate == frugal
    assert ranking.meets == {frugal.structure_id: True, greedy.structure_id: False}
    assert [ranking.chances[own.structure_id].energy for own in (frugal, greedy)] == [1.0, 0.0]
    nothing = rank(seeded.standing(), Budgets(resources={ENERGY: 20.0}))
    assert "nearest miss: energy of one inference 29.0 mJ, budget 20 mJ" in nothing.reason


def test_what_the_measured_structures_took_is_the_nearest_miss_where_nothing_was_trained(seeded, candidate):
    near, far = candidate(0.5, 0.5), candidate(1.0, 0.5)
    seeded.propose(1, "measure", near, far)
    seeded.measure(near, 0.3, energy_mj=12.0)
    seeded.measure(far, 0.6, energy_mj=24.0)
    ranking = rank(seeded.standing(), Budgets(resources={ENERGY: 10.0}))
    assert ranking.reason.endswith(
        "nothing was trained; the nearest miss: energy of one inference 12.0 mJ, budget 10 mJ"
    )


def test_a_search_is_told_of_memory_and_of_energy_where_the_board_tells_it(seeded, candidate):
    told, silent = candidate(0.5, 0.5), candidate(1.0, 0.5)
    seeded.propose(1, "measure", told, silent)
    seeded.measure(told, 0.3, peak_mb=40.0, energy_mj=12.0)
    seeded.measure(silent, 0.6, peak_mb=45.0, energy_mj=0.0)
    standing = seeded.standing()
    observed = [dict(standing.observation(own).resources) for own in standing.candidates]
    assert observed == [{MEMORY: 40.0, ENERGY: 12.0}, {MEMORY: 45.0}], "a sensor that reads zero tells nothing"


def test_a_failed_candidate_is_known_with_its_reason_and_never_best(seeded, candidate):
    failed, trained = candidate(0.5, 0.5), candidate(1.0, 0.5)
    seeded.propose(1, "train", failed, trained)
    seeded.measure(failed, 0.2)
    seeded.fail("export", failed, PARITY)
    seeded.train(trained, 0.6, 0.985)
    standing = seeded.standing()
    known = standing.candidates[0]
    assert (known.status, known.failure) == ("failed", PARITY)
    assert standing.objectives(known) is None
    assert rank(standing, Budgets()).best.candidate == trained
    observation = standing.observation(known)
    assert observation.failed
    assert observation.latency_ratio.value == 0.2
    assert observation.val_top1 is None


def test_a_failed_measurement_is_an_observation_without_figures(seeded, candidate):
    own = candidate(0.5, 0.5)
    seeded.propose(1, "measure", own)
    seeded.fail("measure", own, Failure(FailureKind.OUT_OF_MEMORY, "killed at 300 MB"))
    observation = seeded.standing().observation(seeded.standing().candidates[0])
    assert observation.failed
    assert observation.latency_ratio is None


def test_the_front_holds_the_seed_and_nobody_untrained(seeded, candidate):
    measured, trained, beaten = candidate(0.5, 0.5), candidate(1.0, 0.5), candidate(0.5, 1.0)
    seeded.propose(1, "train", measured, trained, beaten)
    seeded.measure(measured, 0.1)
    seeded.train(trained, 0.5, 0.98)
    seeded.train(beaten, 0.6, 0.97)
    ranking = rank(seeded.standing(), Budgets())
    assert ranking.on_front == {candidate(1.0, 1.0).structure_id, trained.structure_id}
    assert set(ranking.meets) == {trained.structure_id, beaten.structure_id}


def test_before_the_seed_is_measured_there_is_no_ranking(run, candidate):
    run.begin()
    run.measure(candidate(1.0, 1.0), 1.0)
    ranking = rank(run.standing(), Budgets())
    assert ranking.best is None
    assert "seed has not been measured" in ranking.reason


def test_what_was_proposed_and_never_touched_is_not_known(seeded, candidate):
    seeded.propose(1, "measure", candidate(0.5, 0.5))
    assert seeded.standing().candidates == ()
