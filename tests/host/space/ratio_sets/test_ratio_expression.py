"""Sets as text: the same words and operators as in Python, and nothing else."""

from __future__ import annotations

import pytest

from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import (
    explicit,
    non_decreasing,
    non_increasing,
    one_at_a_time,
    permutations,
    product,
    uniform,
)
from scbp_host.space.ratio_sets.expression import parse_ratio_set

FIGURES = {"params": lambda ratios: 100.0 * sum(ratios), "macs": lambda ratios: 1000.0 * ratios[0]}
SOME = (1.0, 0.75, 0.5)


def parse(text):
    return parse_ratio_set(text, 3, FIGURES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("product(1, 0.75, 0.5)", product((SOME,) * 3)),
        ("product([1, 0.5], [0.75], [0.5, 0.25])", product(((1.0, 0.5), (0.75,), (0.5, 0.25)))),
        ("uniform(1, .75, 5e-1)", uniform(SOME, 3)),
        ("non_increasing(1, 0.75, 0.5)", non_increasing(SOME, 3)),
        ("non_decreasing(1, 0.75, 0.5)", non_decreasing(SOME, 3)),
        ("permutations(1, 0.5, 0.5)", permutations((1.0, 0.5, 0.5))),
        ("one_at_a_time(0.75, 0.5)", one_at_a_time((0.75, 0.5), 3)),
        ("explicit([1, 0.5, 0.5], [1, 1, 0.5])", explicit(((1, 0.5, 0.5), (1, 1, 0.5)))),
        ("product(1, 0.75, 0.5) - uniform(0.5)", product((SOME,) * 3) - uniform((0.5,), 3)),
        (
            " (non_increasing(1, 0.75, 0.5)\n | non_decreasing(1, 0.75, 0.5)) & permutations(1, 0.75, 0.5)\n",
            explicit(((1, 0.75, 0.5), (0.5, 0.75, 1))),
        ),
        # Python's own precedence: minus, then and, then or.
        ("uniform(1) | uniform(0.5) & uniform(0.25)", uniform((1.0,), 3)),
    ],
)
def test_text_is_the_set_that_python_composes(text, expected):
    assert parse(text) == expected


def test_where_limits_figures():
    everything = product((SOME,) * 3)
    narrow = parse("where(product(1, 0.75, 0.5), max_params=200, min_macs=700) - uniform(0.75)")
    assert list(narrow) == [own for own in everything if sum(own) <= 2.0 and own[0] >= 0.7 and len(set(own)) > 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a set such as"),
        ("product(1, 0.5", "expected a set such as"),
        ("(" * 500, "expected a set such as"),
        ("uniform(1)" + " | uniform(1)" * 5000, "expected a set such as"),
        ("\x00", "expected a set such as"),
        ("0.5", "sets joined by |, & and -, got '0.5'"),
        ("tapered", "sets joined by |, & and -, got 'tapered'"),
        ("~uniform(1)", "sets joined by |, & and -"),
        ("uniform(1) + uniform(0.5)", "sets joined by |, & and -"),
        ("uniform(1) | 0.5", "sets joined by |, & and -, got '0.5'"),
        ("unifrom(1)", "no ratio set 'unifrom' (did you mean 'uniform'?); known: explicit, non_decreasing"),
        ("__import__('os').system('true')", "sets joined by |, & and -"),
        ("uniform(__import__('os'))", "expected a number"),
        ("uniform(True)", "expected a number, got 'True'"),
        ("uniform('1')", "expected a number"),
        ("uniform(*[1, 0.5])", "expected a number"),
        ("uniform(1.5)", "a ratio in (0, 1], got '1.5'"),
        ("uniform(0)", "a ratio in (0, 1], got '0'"),
        ("uniform(-0.5)", "expected a number, got '-0.5'"),
        ("uniform(1e999)", "a ratio in (0, 1]"),
        ("uniform()", "at least one ratio"),
        ("uniform(0.5, 0.5)", "no repeats"),
        ("uniform(ratios=1)", "expected ratios alone"),
        ("permutations(1, 0.5)", "expected 3 ratios, one for each superblock, got 'permutations(1, 0.5)'"),
        ("explicit([1, 0.5])", "expected 3 ratios"),
        ("product([1], [0.5])", "expected 3 ratios"),
        ("explicit(1, 0.5, 0.5)", "a list such as [1, 0.5], got '1'"),
        ("product([1], 0.5, 0.5)", "expected a number, got '[1]'"),
        ("where(uniform(1))", "expected where(SET, max_params=5e6)"),
        ("where(max_params=5)", "expected where(SET, max_params=5e6)"),
        ("where(uniform(1), max_params='5M')", "expected a number"),
        ("where(uniform(1), max_param=5)", "no filter 'max_param' (did you mean 'max_params'?)"),
        ("where(uniform(1), **{'max_params': 5})", "expected a number"),
        ("where(uniform(1), max_latency=5)", "known: max_macs, max_params, min_macs, min_params"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_names_the_part(text, says):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 250
    assert caught.value.hint or "expected" in caught.value.message
