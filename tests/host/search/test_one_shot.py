import itertools

import numpy as np
import pytest

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.search.base import Limits, Observation, Problem, Purpose
from scbp_host.search.one_shot import MIN_TRAININGS, SHORTLIST, OneShotSearch, importance_kept, relative_widths

SPEC = SeedSpec("resnet18", 10, (3, 32, 32))
CHANNELS = 64
RATIOS = (1.0, 0.75, 0.5, 0.25)
POOL = tuple(
    Candidate(SPEC, own, tuple((f"conv{block}", int(CHANNELS * ratio)) for block, ratio in enumerate(own)))
    for own in itertools.product(RATIOS, repeat=3)
    if own != (1.0, 1.0, 1.0)
)
WIDTHS = np.asarray([own.ratios for own in POOL])
# The prior: what is wider keeps more.
IMPORTANCE = WIDTHS.prod(axis=1)
SEED_TOP1 = 0.99
NO_LIMITS = Limits()


def latency(candidate):
    first, second, third = candidate.ratios
    return 0.05 + 0.15 * first + 0.3 * first * second + 0.5 * second * third


def size(candidate):
    first, second, third = candidate.ratios
    return round(1000 + 4000 * first * second + 16_000 * second * third)


def observed(candidate, ratio=None, **known):
    value = latency(candidate) if ratio is None else ratio
    interval = Interval(value, 0.995 * value, 1.005 * value)
    return seen(candidate, interval, peak_mb(candidate), size(candidate), **known)


def peak_mb(candidate):
    return 20 + 1e-4 * size(candidate)


def seen(candidate, interval, peak_mb, onnx_bytes, energy_mj=None, **known):
    amounts = {MEMORY: peak_mb} if energy_mj is None else {MEMORY: peak_mb, ENERGY: energy_mj}
    return Observation(
        candidate,
        interval,
        amounts,
        onnx_bytes,
        **known,
    )


def search(limits=NO_LIMITS, importance=IMPORTANCE, random_seed=0):
    prior = prior_of_importance(importance, WIDTHS)
    return OneShotSearch(Problem(POOL, WIDTHS, prior, limits, SEED_TOP1, random_seed))


def measured_search(limits=NO_LIMITS, count=24, **settings):
    """Return a search that has measured a spread."""
    own = search(limits, **settings)
    own.observe([observed(candidate) for candidate in own.propose(Purpose.MEASURE, count).candidates])
    return own


def test_the_spread_is_of_distinct_structures_and_begins_with_the_narrowest():
    proposed = search().propose(Purpose.MEASURE, 16).candidates
    assert len({own.structure_id for own in proposed}) == 16
    assert proposed[0].ratios == (0.25, 0.25, 0.25)


def test_what_is_measured_is_not_proposed_for_measuring_again():
    own = search()
    first = own.propose(Purpose.MEASURE, 8).candidates
    own.observe([observed(candidate) for candidate in first])
    assert own.propose(Purpose.MEASURE, 8).candidates == ()
    assert not set(first) & set(own.propose(Purpose.MEASURE, 12).candidates)


def test_without_measurements_nothing_is_proposed_for_training():
    assert search().propose(Purpose.TRAIN, 4).candidates == ()


def test_the_latency_model_is_judged_on_what_was_measured():
    proposal = measured_search().propose(Purpose.TRAIN, 4)
    assert proposal.model.measured == 24
    assert proposal.model.within_10_percent == 1.0
    assert proposal.plausible + proposal.dropped == len(POOL)


def test_what_cannot_be_fast_enough_is_dropped_measured_or_not():
    limit = 0.4
    proposal = measured_search(Limits(latency_ratio=limit)).propose(Purpose.TRAIN, len(POOL))
    within = [own for own in POOL if 0.9 * latency(own) <= limit]
    assert proposal.candidates
    assert {own.structure_id for own in proposal.candidates} <= {own.structure_id for own in within}
    assert proposal.dropped >= len(POOL) - len(within) > 0


def test_an_interval_that_reaches_below_the_limit_is_no_reason_to_drop():
    own = search(Limits(latency_ratio=0.5))
    noisy = Interval(0.6, 0.45, 0.75)
    own.observe([seen(candidate, noisy, 30.0, size(candidate)) for candidate in POOL])
    assert own.propose(Purpose.TRAIN, 1).plausible == len(POOL)
    slow = Interval(0.6, 0.51, 0.75)
    own.observe([seen(candidate, slow, 30.0, size(candidate)) for candidate in POOL])
    assert own.propose(Purpose.TRAIN, 1).plausible == 0


def test_what_needs_too_much_memory_is_dropped():
    own = search(Limits(resources={MEMORY: 21.0}))
    own.observe([observed(candidate) for candidate in POOL])
    proposal = own.propose(Purpose.TRAIN, len(POOL))
    assert proposal.candidates
    assert all(peak_mb(candidate) <= 21 for candidate in proposal.candidates)


def test_what_takes_too_much_energy_is_dropped_measured_or_not():
    """Twice as much for each ms, and 3 % of noise: of what is not measured, the prediction decides."""
    random = np.random.default_rng(0)
    energy = {own.structure_id: 2.0 * latency(own) * np.exp(random.normal(0.0, 0.03)) for own in POOL}
    own = search(Limits(resources={ENERGY: 0.8}))
    measured = own.propose(Purpose.MEASURE, 24).candidates
    own.observe([observed(each, energy_mj=energy[each.structure_id]) for each in measured])
    proposal = own.propose(Purpose.TRAIN, len(POOL))
    taken = [energy[each.structure_id] for each in proposal.candidates]
    assert len(taken) > 5
    assert max(taken) <= 0.8 * 1.15
    assert {each.structure_id for each in measured if energy[each.structure_id] > 0.8}.isdisjoint(
        each.structure_id for each in proposal.candidates
    )


def test_who_is_beaten_in_all_but_energy_is_dropped_only_where_that_has_no_budget():
    plausible = []
    for limits in (NO_LIMITS, Limits(resources={ENERGY: 9.0})):
        own = search(limits)
        own.observe([seen(each, Interval(0.9, 0.89, 0.91), 30.0, 5000, energy_mj=5.0) for each in POOL])
        own.observe([seen(POOL[0], Interval(0.2, 0.19, 0.21), 30.0, 5000, energy_mj=6.0)])
        plausible.append(own.propose(Purpose.TRAIN, 1).plausible)
    assert plausible[0] < len(POOL)
    assert plausible[1] == len(POOL)


def test_the_beaten_are_dropped():
    """On a staircase a narrower structure may be slower than one that also keeps more of what matters."""
    beaten, better = POOL[-1], POOL[-2]  # 0.25/0.25/0.25 and 0.25/0.25/0.5
    own = search()
    same_size = [seen(cand, Interval(0.9, 0.89, 0.91), 30.0, 5000) for cand in POOL]
    own.observe(same_size)
    assert own.propose(Purpose.TRAIN, 1).plausible == len(POOL)
    own.observe([seen(better, Interval(0.2, 0.19, 0.21), 30.0, 5000)])
    kept = {candidate.structure_id for candidate in own.propose(Purpose.TRAIN, len(POOL)).candidates}
    assert better.structure_id in kept
    assert beaten.structure_id not in kept


def test_what_failed_beats_nobody():
    own = measured_search(importance=np.ones(len(POOL)))
    (narrowest,) = own.propose(Purpose.TRAIN, 4).candidates
    own.observe([Observation(narrowest, failed=True)])
    proposal = own.propose(Purpose.TRAIN, 4)
    assert proposal.candidates
    assert narrowest not in proposal.candidates


def test_what_failed_or_was_trained_or_halved_is_never_proposed_again():
    own = measured_search()
    first = own.propose(Purpose.TRAIN, 5).candidates
    own.observe(
        [observed(first[0], val_top1=0.98), observed(first[1], failed=True), Observation(first[2], failed=True)]
    )
    own.observe([observed(first[3], halved=True)])
    again = own.propose(Purpose.TRAIN, len(POOL)).candidates
    assert not set(first[:4]) & set(again)
    assert first[4] in again


def test_proposals_are_distinct_and_no_more_than_asked_for():
    for count in (1, 2, 5, 200):
        candidates = measured_search().propose(Purpose.TRAIN, count).candidates
        assert len({own.structure_id for own in candidates}) == len(candidates) <= count


def test_the_first_round_covers_the_range_of_latency_with_the_prior_best_of_each_part():
    candidates = measured_search().propose(Purpose.TRAIN, 4).candidates
    ratios = [latency(own) for own in candidates]
    assert ratios == sorted(ratios)
    assert ratios[-1] / ratios[0] > 3


def test_without_a_budget_nothing_is_trained_that_saves_less_than_a_fifth():
    proposed = measured_search().propose(Purpose.TRAIN, 6).candidates
    assert len(proposed) == 6
    assert max(latency(own) for own in proposed) < 0.8
    # A budget says what is fast enough.
    within = measured_search(Limits(latency_ratio=0.95)).propose(Purpose.TRAIN, 6).candidates
    assert max(latency(own) for own in within) >= 0.8
    # Where nothing saves as much, what there is gets its chance.
    slow = search()
    slow.observe([observed(own, 0.85 + 0.1 * latency(own)) for own in POOL])
    assert slow.propose(Purpose.TRAIN, 2).candidates


def test_under_a_latency_budget_the_first_round_keeps_most_within_it_and_is_a_spread():
    limit = 0.5
    own = search(Limits(latency_ratio=limit))
    own.observe([observed(candidate) for candidate in POOL])
    proposed = own.propose(Purpose.TRAIN, 3).candidates
    within = sorted((own for own in POOL if latency(own) <= limit), key=lambda own: -IMPORTANCE[POOL.index(own)])
    assert proposed[0] == within[0]
    assert len(within) > 3 * SHORTLIST
    assert {own.structure_id for own in proposed} < {own.structure_id for own in within}
    assert _apart(proposed) > _apart(within[:3]), "the best three are neighbours"


def _apart(candidates):
    return min(np.linalg.norm(np.subtract(a.ratios, b.ratios)) for a, b in itertools.combinations(candidates, 2))


def accuracy_by_last_block(candidate):
    """Only the last superblock matters: the contrary of a prior that says the first does."""
    return SEED_TOP1 - 0.05 * abs(np.log2(candidate.ratios[2]))


def trained_search(count, **settings):
    prior = WIDTHS[:, 0] + 0.01 * IMPORTANCE
    own = search(Limits(min_val_top1=0.97), importance=prior, **settings)
    own.observe([observed(candidate) for candidate in POOL])
    spread = [POOL[row] for row in np.linspace(0, len(POOL) - 1, count).astype(int)]
    own.observe([observed(candidate, val_top1=accuracy_by_last_block(candidate)) for candidate in spread])
    return own


def test_trained_accuracies_that_contradict_the_prior_flip_the_choice():
    before = trained_search(MIN_TRAININGS - 1).propose(Purpose.TRAIN, 3).candidates
    after = trained_search(12).propose(Purpose.TRAIN, 3).candidates
    assert any(own.ratios[2] < 1.0 for own in before), "by the prior the last superblock may be cut"
    assert all(own.ratios[2] == 1.0 for own in after), "by what was trained it may not"
    assert np.mean([own.ratios[0] for own in after]) < np.mean([own.ratios[0] for own in before])


def test_with_a_latency_budget_the_gain_is_in_accuracy():
    limit = 0.6
    own = search(Limits(latency_ratio=limit))
    own.observe([observed(candidate) for candidate in POOL])
    spread = [POOL[row] for row in np.linspace(0, len(POOL) - 1, 12).astype(int)]
    own.observe([observed(candidate, val_top1=accuracy_by_last_block(candidate)) for candidate in spread])
    proposed = own.propose(Purpose.TRAIN, 3).candidates
    assert all(own.ratios[2] == 1.0 and latency(own) <= 1.01 * limit for own in proposed)


def accuracy_by_every_block(candidate):
    """The later, the more it matters."""
    return SEED_TOP1 - float(np.asarray([0.01, 0.02, 0.05]) @ np.abs(np.log2(candidate.ratios)))


@pytest.mark.parametrize("in_time", [True, False], ids=["some-in-time", "none-in-time"])
@pytest.mark.parametrize("limit", [0.3, 0.4])
def test_an_accuracy_beyond_the_budget_is_not_one_to_beat(limit, in_time):
    """What is trained beyond the budget is far better: over that, only mere ignorance promises an improvement."""
    own = search(Limits(latency_ratio=limit))
    own.observe([observed(candidate) for candidate in POOL])
    spread = [POOL[row] for row in np.linspace(0, len(POOL) - 1, 12).astype(int)]
    trained = [each for each in spread if in_time or latency(each) > limit]
    assert len(trained) >= MIN_TRAININGS
    own.observe([observed(each, val_top1=accuracy_by_every_block(each)) for each in trained])
    within = [each for each in POOL if 1.005 * latency(each) <= limit and each not in trained]
    best = sorted(within, key=accuracy_by_every_block)[-3:]
    assert set(own.propose(Purpose.TRAIN, 3).candidates) == set(best)


def test_what_is_measured_to_be_too_slow_is_not_trained():
    limit = 0.6
    own = search(Limits(latency_ratio=limit))
    fast, slow = (0.75, 1.0, 1.0), (1.0, 0.75, 1.0)  # as accurate as each other, by what was trained
    unsure = {fast: Interval(0.5, 0.45, 0.55), slow: Interval(0.7, 0.55, 0.85)}
    own.observe([seen(candidate, unsure[candidate.ratios], 1, 1) for candidate in POOL if candidate.ratios in unsure])
    others = [candidate for candidate in POOL if candidate.ratios not in unsure]
    own.observe([observed(candidate, val_top1=accuracy_by_last_block(candidate)) for candidate in others])
    assert [own.ratios for own in own.propose(Purpose.TRAIN, 2).candidates] == [fast]


def test_the_same_observations_and_seed_give_the_same_proposals_in_any_order():
    def propose(reverse):
        own = trained_search(12)
        everything = [observed(candidate) for candidate in POOL[:20]]
        again = search(Limits(min_val_top1=0.97))
        again.observe(everything[::-1] if reverse else everything)
        return own.propose(Purpose.TRAIN, 6), {own.structure_id for own in again.propose(Purpose.TRAIN, 6).candidates}

    assert propose(False) == propose(True)
    assert search(random_seed=1).propose(Purpose.MEASURE, 9) == search(random_seed=1).propose(Purpose.MEASURE, 9)


def test_the_random_seed_decides_the_spread():
    assert search(random_seed=1).propose(Purpose.MEASURE, 9) != search(random_seed=2).propose(Purpose.MEASURE, 9)


def test_a_structure_of_another_space_is_ignored():
    own = search()
    stranger = Candidate(SPEC, (0.1, 0.1, 0.1), (("conv0", 6), ("conv1", 6), ("conv2", 6)))
    own.observe([observed(stranger)])
    assert own.propose(Purpose.TRAIN, 1).candidates == ()


def test_relative_widths_are_of_whole_superblocks():
    candidate = Candidate(SPEC, (0.5, 1.0), (("a", 8), ("b", 16), ("c", 32)))
    assert relative_widths([candidate], [{"a": 16, "b": 32}, {"c": 32}]).tolist() == [[0.5, 1.0]]


def test_importance_multiplies_over_groups():
    curves = {"a": np.asarray([0.0, 0.7, 1.0]), "b": np.asarray([0.0, 0.9, 1.0])}
    pool = [Candidate(SPEC, (1.0,), (("a", a), ("b", b))) for a, b in ((2, 2), (1, 2), (1, 1))]
    assert importance_kept(pool, curves) == pytest.approx([1.0, 0.7**0.5, (0.7 * 0.9) ** 0.5])
