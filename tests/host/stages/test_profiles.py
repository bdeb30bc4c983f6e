import pytest

from scbp_host.stages.profiles import time_shares

OWNERS = {"stem": "stem", "one.a": "stem", "one.b": "b", "two.a": "c", "two.b": "c"}
PLACES = {"stem": 0, "b": 0, "c": 1}


def test_layers_count_for_the_superblock_that_owns_them_and_the_rest_for_the_head():
    times = {"stem": 100, "one.a": 200, "one.b": 100, "two.a": 300, "two.b": 100, "classifier": 200}
    assert time_shares(times, OWNERS, PLACES, 3) == pytest.approx([0.4, 0.4, 0.2])


def test_a_layer_that_was_not_timed_takes_nothing():
    assert time_shares({"two.a": 50, "classifier": 50}, OWNERS, PLACES, 3) == [0.0, 0.5, 0.5]
