import numpy as np
import pytest
from scipy import special
from search_tables import Table, synthetic

from scbp_host.search.accuracy import prior_of_estimates, prior_of_importance
from scbp_host.search.accuracy_model import AccuracyModel

TABLE = Table(synthetic(superblocks=3))
TRUE = TABLE.top1
SEED_TOP1 = float(TRUE[0])
WIDE = np.log2(TABLE.widths).sum(axis=1)


def fitted(count, guess=None, random_seed=0):
    """Return a model of so many trainings, and which they are."""
    rows = np.random.default_rng(random_seed).permutation(len(TRUE))[:count].tolist()
    prior = prior_of_importance(np.exp(WIDE) if guess is None else guess, TABLE.widths)
    return AccuracyModel(prior, TABLE.widths, rows, TRUE[rows].tolist(), SEED_TOP1), rows


def test_it_learns_accuracies_from_a_few_trainings():
    errors = [np.abs(fitted(count)[0].expect()[0] - TRUE).mean() for count in (4, 12, 32)]
    assert errors[2] < errors[0]
    assert errors[2] < 0.25 * np.abs(TRUE - TRUE.mean()).mean()


def test_it_is_less_sure_of_what_is_far_from_everything_trained():
    model, rows = fitted(20)
    _, std = model.expect()
    others = np.setdiff1d(np.arange(len(TRUE)), rows)
    assert std[rows].mean() < std[others].mean()


def test_its_deviations_are_about_as_large_as_its_errors():
    off = []
    for random_seed in range(6):
        model, rows = fitted(20, random_seed=random_seed)
        expected, std = model.expect()
        others = np.setdiff1d(np.arange(len(TRUE)), rows)
        off += (np.abs(expected - TRUE)[others] <= 2 * np.hypot(std[others], 0.004)).tolist()
    assert np.mean(off) >= 0.85


def test_a_good_guess_orders_what_few_trainings_do_not():
    def off(guess):
        return np.mean([np.abs(fitted(5, guess, random_seed)[0].expect()[0] - TRUE).mean() for random_seed in range(4)])

    assert off(TRUE) < off(TRUE[::-1].copy())


def test_what_is_drawn_has_the_expected_moments_and_holds_together():
    model, _ = fitted(12)
    expected, std = model.expect()
    rows = list(range(0, len(TRUE), 5))
    drawn = model.draw(rows, 4000, np.random.default_rng(0))
    assert drawn.shape == (4000, len(rows))
    assert drawn.mean(axis=0) == pytest.approx(expected[rows], abs=0.1 * std.max())
    assert drawn.std(axis=0) == pytest.approx(std[rows], rel=0.15, abs=1e-3)
    together = np.corrcoef(drawn.T) - np.eye(len(rows))
    assert together.max() > 0.5, "what is alike is wrong together"


def test_estimates_are_a_guess_too():
    prior = prior_of_estimates(TRUE - 0.1, SEED_TOP1 - 0.1, TABLE.widths)

    def off(rows):
        model = AccuracyModel(prior, TABLE.widths, rows, TRUE[rows].tolist(), SEED_TOP1)
        return np.abs(model.expect()[0] - TRUE).mean()

    # Five trainings can lie well or badly: what counts is the mean of some draws.
    draws = [[0, 10, 20, 30, 40], *(fitted(5, random_seed=own)[1] for own in range(1, 12))]
    assert np.mean([off(own) for own in draws]) < 0.25 * np.abs(TRUE - TRUE.mean()).mean()


def test_no_accuracy_is_above_one_and_near_it_all_is_surer():
    top1 = special.expit(4.0 - 3.0 * (1.0 - TABLE.widths[:, 0]) - 2.0 * (1.0 - TABLE.widths[:, 1]))
    rows = np.random.default_rng(0).permutation(len(top1))[:16].tolist()
    prior = prior_of_importance(np.exp(WIDE), TABLE.widths)
    model = AccuracyModel(prior, TABLE.widths, rows, top1[rows].tolist(), float(special.expit(4.0)))
    expected, std = model.expect()
    assert 0.0 < expected.min() < expected.max() < 1.0
    assert model.draw(range(len(top1)), 500, np.random.default_rng(0)).max() < 1.0
    others = np.setdiff1d(np.arange(len(top1)), rows)
    best, worst = others[np.argsort(top1[others])][-10:], others[np.argsort(top1[others])][:10]
    assert std[best].mean() < 0.5 * std[worst].mean()
