import pytest

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import ScbpError
from scbp_host.events import Acknowledged
from scbp_host.stages.ledger import Ledger
from scbp_host.store import Store

LOST = Failure(FailureKind.TIMEOUT, "no answer within 30 s", "look at the cable", transient=True)
BROKEN = Failure(FailureKind.BAD_MODEL, "opset 18 is not 13", "export again")


class Counted:
    """A stage that counts how often it is computed."""

    def __init__(self, *results):
        self.results = list(results)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.results.pop(0)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def ledger(store, heard):
    store.create_run("r1", {})
    return Ledger(store, "r1", heard.append)


def test_a_result_is_computed_once_and_reused(ledger, heard):
    compute = Counted({"latency_ns": (1, 2)})
    first, second = ledger.once("measure", "a", compute), ledger.once("measure", "a", compute)
    assert compute.calls == 1
    assert first == second == {"latency_ns": [1, 2]}
    assert heard == [Acknowledged("measure", "a"), Acknowledged("measure", "a", reused=True)]


def test_an_empty_result_is_a_result(ledger):
    compute = Counted({})
    assert ledger.once("measure", "a", compute) == ledger.once("measure", "a", compute) == {}
    assert compute.calls == 1


def test_another_process_reuses_what_was_acknowledged(ledger, store, heard):
    ledger.once("measure", "a", Counted({"x": 1}))
    with Store.open(store.path) as again:
        assert Ledger(again, "r1", heard.append).once("measure", "a", Counted()) == {"x": 1}


def test_a_transient_failure_is_tried_again_and_replaced(ledger, store):
    compute = Counted(LOST, {"x": 1})
    assert ledger.once("measure", "a", compute) == LOST
    assert ledger.once("measure", "a", compute) == {"x": 1}
    assert ledger.once("measure", "a", compute) == {"x": 1}
    assert compute.calls == 2
    assert [own.payload for own in store.outcomes("r1")] == [{"x": 1}]


def test_a_transient_failure_may_become_a_permanent_one(ledger):
    compute = Counted(LOST, BROKEN)
    ledger.once("measure", "a", compute)
    assert ledger.once("measure", "a", compute) == BROKEN
    assert ledger.once("measure", "a", compute) == BROKEN
    assert compute.calls == 2


def test_a_permanent_failure_is_kept(ledger):
    compute = Counted(BROKEN)
    assert ledger.once("measure", "a", compute) == ledger.once("measure", "a", compute) == BROKEN
    assert compute.calls == 1


def test_it_is_acknowledged_only_when_it_is_on_disk(store):
    on_disk = []

    def listen(event):
        with Store.open(store.path) as other:
            on_disk.append(other.get("r1", event.stage, event.subject))

    store.create_run("r1", {})
    ledger = Ledger(store, "r1", listen)
    ledger.once("measure", "a", Counted({"x": 1}))
    ledger.once("measure", "b", Counted(LOST))
    assert [own.payload or own.failure for own in on_disk] == [{"x": 1}, LOST]


def test_what_raises_is_not_acknowledged(ledger, store, heard):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.once("measure", "a", interrupted)
    assert heard == []
    assert store.outcomes("r1") == ()


def test_where_nothing_can_go_on_a_failure_ends_the_run(ledger):
    with pytest.raises(ScbpError, match="seed of seed failed: opset 18 is not 13") as caught:
        ledger.must("seed", "seed", Counted(BROKEN))
    assert caught.value.hint == BROKEN.hint
    assert ledger.must("seed", "other", Counted({"x": 1})) == {"x": 1}


def test_payloads_are_the_results_of_one_stage_in_order(ledger):
    ledger.once("measure", "b", Counted({"x": 1}))
    ledger.once("train", "a", Counted({"x": 2}))
    ledger.once("measure", "c", Counted(BROKEN))
    ledger.once("measure", "a", Counted({"x": 3}))
    assert list(ledger.payloads("measure").items()) == [("b", {"x": 1}), ("a", {"x": 3})]


def test_several_are_computed_together_but_for_those_that_are_known(ledger, store):
    ledger.once("measure", "b", Counted({"x": 0}))
    ledger.once("measure", "c", Counted(LOST))
    asked = []

    def compute(subjects):
        asked.append(subjects)
        return [{"x": 1}, BROKEN]

    found = ledger.several("measure", ["a", "b", "c"], compute)
    assert asked == [["a", "c"]]
    assert found == {"a": {"x": 1}, "b": {"x": 0}, "c": BROKEN}
    assert ledger.several("measure", ["a", "b", "c"], compute) == found
    assert len(asked) == 1
    took = {own.subject: own.seconds for own in store.outcomes("r1", "measure")}
    assert took["a"] == took["c"]
