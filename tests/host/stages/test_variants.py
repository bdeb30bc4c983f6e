"""A trained structure in several precisions: each competes for itself, and the search knows the first alone."""

from __future__ import annotations

import pytest

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.ranking.budgets import Budgets
from scbp_host.stages.ranked import rank
from scbp_host.stages.summary import summarise

INACCURATE = Failure(FailureKind.ACCURACY_FAILED, "in int8 the answers score 40 %", "another structure may")


@pytest.fixture
def varied(run, candidate):
    """The seed and two structures, trained in fp32 and int8; of the wide one int8 is wrong."""
    seed, small, wide = candidate(1.0, 1.0), candidate(0.5, 0.5), candidate(1.0, 0.5)
    run.begin(precision=["fp32", "int8"])
    run.measure(seed, 1.0, onnx_bytes=40_000)
    run.train(seed, 1.0, 0.97, onnx_bytes=40_000)
    run.vary(seed, "int8", 0.6, 0.96, onnx_bytes=10_000)
    run.propose(1, "train", small, wide)
    run.measure(small, 0.5)
    run.measure(wide, 0.8)
    run.train(small, 0.5, 0.95)
    run.train(wide, 0.8, 0.96)
    run.vary(small, "int8", 0.3, 0.945, in_float=["/conv1/Conv"])
    run.vary(wide, "int8", 0.4, INACCURATE)
    return run


def test_every_precision_is_a_row_of_its_own(varied, candidate, store):
    small, wide = candidate(0.5, 0.5).structure_id, candidate(1.0, 0.5).structure_id
    summary = summarise(store, varied.run_id, Budgets(accuracy_drop_points=5.0))
    rows = {own.id: own for own in summary.candidates}
    assert list(rows) == [small, wide, f"{summary.seed.id}@int8", f"{small}@int8", f"{wide}@int8"]
    own = rows[f"{small}@int8"]
    assert (own.precision, own.label, own.in_float) == ("int8", "0.5/0.5 int8", ("/conv1/Conv",))
    assert (own.status, own.val_top1, own.onnx_bytes) == ("trained", 0.945, 1000)
    assert own.latency_ratio == pytest.approx(0.3)
    assert rows[small].precision == "fp32"
    assert rows[f"{wide}@int8"].status == "failed"
    assert rows[f"{wide}@int8"].failure.kind == "ACCURACY_FAILED"
    assert rows[wide].status == "trained", "what one precision costs says nothing of another"


def test_a_precision_can_be_the_best_and_on_the_front(varied, candidate):
    standing = varied.standing()
    small = candidate(0.5, 0.5).structure_id
    ranking = rank(standing, Budgets(accuracy_drop_points=5.0))
    assert ranking.best.id == f"{small}@int8"
    assert ranking.best.trained == standing.candidates[0].payloads["train"]
    assert f"{small}@int8" in ranking.on_front
    assert rank(standing, Budgets(accuracy_drop_points=1.0)).best.id == f"{standing.seed.id}@int8"


def test_the_search_observes_the_first_precision_alone(varied, candidate):
    standing = varied.standing()
    assert [own.candidate for own in standing.candidates] == [candidate(0.5, 0.5), candidate(1.0, 0.5)]
    assert [standing.observation(own).val_top1 for own in standing.candidates] == [0.95, 0.96]
    assert len(standing.variants) == 3


def test_a_precision_measured_again_counts_with_all_of_its_measurements(varied, candidate):
    small = candidate(0.5, 0.5)
    payload = dict(varied.again("verify", small, 1, 0.31, off=0.001).payload, structure_id=f"{small.structure_id}@int8")
    varied.add("verify-again", f"{small.structure_id}@int8/1", payload)
    own = next(own for own in varied.standing().variants if own.id == f"{small.structure_id}@int8")
    # The first was 0.3 and less sure.
    assert 0.309 < own.measurement.ratio.value < 0.31


def test_after_a_failure_to_measure_a_precision_again_its_measurement_stands(varied, candidate):
    own_id = f"{candidate(0.5, 0.5).structure_id}@int8"
    varied.add("verify-again", f"{own_id}/1", Failure(FailureKind.TIMEOUT, "no answer in 60 s"))
    own = next(own for own in varied.standing().variants if own.id == own_id)
    assert (own.measurement.ratio.value, own.status, own.failure) == (0.3, "trained", None)


def test_the_first_precision_is_named_where_it_is_not_float32(run, candidate, store):
    run.begin(precision=["int8"])
    run.measure(candidate(1.0, 1.0), 1.0)
    run.train(candidate(1.0, 1.0), 1.0, 0.9)
    summary = summarise(store, run.run_id)
    assert (summary.seed.precision, summary.seed.label) == ("int8", "1/1 int8")


def test_a_rung_is_no_precision(varied, candidate):
    varied.rung(2, 4, {candidate(0.5, 1.0): 0.5}, stopped=[])
    assert len(varied.standing().variants) == 3
