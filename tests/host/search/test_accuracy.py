from __future__ import annotations

import itertools

import numpy as np
import pytest

from scbp_host.search.accuracy import prior_of_estimates, prior_of_importance

WIDTHS = np.asarray([own for own in itertools.product((1.0, 0.75, 0.5, 0.25), repeat=3) if min(own) < 1.0])
TRUE = 0.95 + 0.03 * np.log2(WIDTHS[:, 0]) + 0.01 * np.log2(WIDTHS[:, 1]) * np.log2(WIDTHS[:, 2])
SEED_TOP1 = 0.95
# Of other accuracies, but in the same order: sub-networks of a slimmable seed differ from trained candidates.
ESTIMATES = 0.90 + 2.0 * (TRUE - SEED_TOP1)


def test_estimates_are_the_guess_until_something_is_trained() -> None:
    np.testing.assert_array_equal(prior_of_estimates(ESTIMATES, 0.9, WIDTHS).guess, ESTIMATES)


def test_a_few_trainings_teach_how_estimates_and_accuracies_are_related() -> None:
    prior = prior_of_estimates(ESTIMATES, 0.9, WIDTHS)
    rows = [0, 20, 40, 60]
    expected, std = prior.posterior(rows, TRUE[rows], SEED_TOP1)
    np.testing.assert_allclose(expected, TRUE, atol=0.003)
    assert np.all(std > 0)


def test_where_estimates_are_missing_the_widths_predict_them() -> None:
    some = np.where(np.arange(len(WIDTHS)) % 3 == 0, ESTIMATES, np.nan)
    guess = prior_of_estimates(some, 0.9, WIDTHS).guess
    np.testing.assert_allclose(guess, ESTIMATES, atol=0.002)
    np.testing.assert_array_equal(guess[::3], ESTIMATES[::3])


def test_importance_guesses_by_what_is_kept_and_learns_from_widths() -> None:
    kept = WIDTHS.prod(axis=1)
    prior = prior_of_importance(kept, WIDTHS)
    np.testing.assert_array_equal(prior.guess, kept)
    linear = SEED_TOP1 + 0.02 * np.log2(WIDTHS).sum(axis=1)
    rows = [3, 11, 27, 44, 59]
    expected, _ = prior.posterior(rows, linear[rows], SEED_TOP1)
    np.testing.assert_allclose(expected, linear, atol=0.005)


@pytest.mark.parametrize("prior", [prior_of_estimates(ESTIMATES, 0.9, WIDTHS), prior_of_importance(TRUE, WIDTHS)])
def test_no_expectation_is_a_certainty(prior) -> None:
    _, std = prior.posterior([0, 1, 2, 3], [SEED_TOP1] * 4, SEED_TOP1)
    assert std.min() >= 1e-4
