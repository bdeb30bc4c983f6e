"""What is known of the layers' work before anything is measured reaches the latency model."""

import itertools

import numpy as np

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import MEMORY
from scbp_host.search.accuracy import prior_of_importance
from scbp_host.search.base import Limits, Observation, Problem, Purpose
from scbp_host.search.one_shot import OneShotSearch

SPEC = SeedSpec("resnet18", 10, (3, 32, 32))
POOL = tuple(
    Candidate(SPEC, own, tuple((f"conv{block}", int(64 * ratio)) for block, ratio in enumerate(own)))
    for own in itertools.product((1.0, 0.75, 0.5, 0.25), repeat=3)
)
WIDTHS = np.asarray([own.ratios for own in POOL])
# Nothing that widths alone would tell.
WORK = dict(zip((own.ratios for own in POOL), np.random.default_rng(0).uniform(0.2, 1.0, len(POOL)), strict=True))


def work(widths):
    return np.asarray([[WORK[tuple(row)]] for row in widths.tolist()])


def observed(candidate):
    value = 0.1 + 0.9 * WORK[candidate.ratios]
    interval = Interval(value, 0.99 * value, 1.01 * value)
    return Observation(candidate, interval, {MEMORY: 30.0}, 4000)


def judged(given):
    prior = prior_of_importance(WIDTHS[:, 0], WIDTHS)
    search = OneShotSearch(Problem(POOL, WIDTHS, prior, Limits(), 0.9, 0, work=given))
    search.observe([observed(own) for own in search.propose(Purpose.MEASURE, 12).candidates])
    return search.propose(Purpose.TRAIN, 1).model


def test_latency_that_follows_the_work_is_learned_from_it():
    assert judged(work).within_10_percent == 1.0
    assert judged(None).within_10_percent < 0.5
