import pytest

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.domain.resources import ENERGY
from scbp_host.errors import StoreError
from scbp_host.ranking.budgets import Budgets
from scbp_host.report.summary import RoundRecord, Summary
from scbp_host.stages.summary import summarise

LOO = {
    "measured": 2,
    "within_10_percent": 1.0,
    "largest_error": 0.05,
    "interval_coverage": 0.9,
}
CRASHED = Failure(FailureKind.WORKER_CRASHED, "the worker ended with signal 11", "run it again")


@pytest.fixture
def finished(run, candidate):
    """A run of two rounds: one structure fails, two are trained, one is only measured."""
    failed, small, middle, wide = (candidate(*own) for own in ((0.25, 0.25), (0.5, 0.5), (0.5, 1.0), (1.0, 0.5)))
    run.begin(random_seed=3)
    run.measure(candidate(1.0, 1.0), 1.002, onnx_bytes=40_000, wire_bytes=700)
    run.train(candidate(1.0, 1.0), 1.001, 0.99, onnx_bytes=40_000, test_top1=0.985)
    run.propose(1, "measure", failed, small, wide)
    run.fail("measure", failed, CRASHED)
    run.measure(small, 0.4, wire_bytes=300)
    run.measure(wide, 0.8, wire_bytes=500)
    run.propose(1, "train", small, dropped=1, model=LOO)
    run.train(small, 0.41, 0.97)
    run.propose(2, "train", middle, small, dropped=2, model={**LOO, "measured": 3})
    run.measure(middle, 0.6, wire_bytes=400)
    run.train(middle, 0.61, 0.985, test_top1=0.97)
    return run


def test_accuracies_latencies_and_the_best_come_from_the_store_alone(finished, candidate):
    summary = summarise(finished.store, "r1")
    assert summary.best.id == candidate(0.5, 1.0).structure_id
    assert summary.best in summary.candidates
    assert (summary.best.val_top1, summary.best.test_top1) == (0.985, 0.97)
    assert (summary.seed.val_top1, summary.seed.test_top1) == (0.99, 0.985)
    assert summary.best.latency_p50_ms == pytest.approx(0.61)
    assert summary.best.latency_ratio_ci95 == pytest.approx((0.6039, 0.6161))
    assert (summary.seed.latency_ratio, summary.seed.status) == (1.0, "reference")
    assert [own.status for own in summary.candidates] == ["failed", "trained", "measured", "trained"]
    assert summary.random_seed == 3
    assert Summary.from_json(summary.to_json()) == summary


def test_it_says_how_sure_the_ranking_is(finished, candidate):
    """The one that is 1.5 points better on 20 images ties with nobody: it is slower beyond both intervals."""
    summary = summarise(finished.store, "r1")
    by_ratios = {own.ratios: own for own in summary.candidates}
    best, fast, measured = by_ratios[0.5, 1.0], by_ratios[0.5, 0.5], by_ratios[1.0, 0.5]
    assert best.chances.on_front > 0.5
    assert fast.chances.on_front == 1.0, "nothing is faster"
    assert 0.0 < fast.chances.accuracy < best.chances.accuracy < 1.0
    assert (best.chances.latency, measured.chances) == (None, None)
    assert summary.seed.chances.accuracy == 1.0
    assert not any(own.tied_with_best for own in summary.candidates)


def test_what_nothing_tells_apart_from_the_best_is_tied_with_it(finished, candidate):
    twin = candidate(0.5, 0.75)
    finished.propose(3, "train", twin, model=LOO)
    finished.measure(twin, 0.61)
    finished.train(twin, 0.615, 0.985)
    summary = summarise(finished.store, "r1")
    tied = [own.ratios for own in summary.candidates if own.tied_with_best]
    assert {summary.best.ratios, *tied} == {(0.5, 1.0), (0.5, 0.75)}
    assert len(tied) == 1


def test_rounds_count_a_structure_where_it_was_proposed_first(finished):
    assert summarise(finished.store, "r1").rounds == (
        RoundRecord(round=1, proposed=3, measured=2, trained=1, dropped=1, epochs=8),
        RoundRecord(round=2, proposed=1, measured=1, trained=1, dropped=2, epochs=8),
    )


def test_what_was_measured_ahead_in_one_round_is_trained_in_another(finished, candidate):
    wide = candidate(1.0, 0.5)
    finished.propose(3, "train", wide)
    finished.train(wide, 0.8, 0.99)
    first, _, third = summarise(finished.store, "r1").rounds
    assert (first.trained, third.trained) == (1, 1)
    assert (third.proposed, third.measured, third.epochs) == (0, 0, 8)


def test_a_failure_keeps_kind_message_and_hint(finished):
    failed = summarise(finished.store, "r1").candidates[0]
    assert (failed.failure.kind, failed.failure.message, failed.failure.hint) == (
        "WORKER_CRASHED",
        CRASHED.message,
        CRASHED.hint,
    )
    assert failed.latency_p50_ms is None
    assert failed.peak_memory_mb is None
    assert failed.meets_budgets is None


def test_an_energy_budget_is_ranked_offline_where_the_board_told_energies(finished, candidate):
    with pytest.raises(StoreError, match="run 'r1': its device did not tell the energy of one inference") as caught:
        summarise(finished.store, "r1", Budgets(resources={ENERGY: 5.0}))
    assert caught.value.hint == "rank without --energy-budget"
    frugal = candidate(0.25, 1.0)
    finished.propose(3, "train", frugal)
    finished.train(frugal, 0.5, 0.97, energy_mj=4.0)
    summary = summarise(finished.store, "r1", Budgets(resources={ENERGY: 5.0}))
    assert summary.best.id == frugal.structure_id
    assert (summary.best.chances.energy, summary.best.chances.of_budgets) == (1.0, {"energy": 1.0})
    assert summary.best.energy.mj == pytest.approx(4.0)
    assert (summary.budgets.energy_mj, summary.budgets.memory_mb) == (5.0, None)
    # The others' energies are not known: that is a miss, and no pass.
    assert [own.meets_budgets for own in summary.candidates if own.status == "trained"].count(True) == 1


def test_other_budgets_are_ranked_offline(finished, candidate):
    wider = summarise(finished.store, "r1", Budgets(accuracy_drop_points=3.0))
    assert wider.best.id == candidate(0.5, 0.5).structure_id
    assert wider.budgets.max_accuracy_drop == pytest.approx(0.03)
    impossible = summarise(finished.store, "r1", Budgets(latency_ms=0.1))
    assert impossible.best is None
    assert "nearest miss" in impossible.best_reason
    assert impossible.budgets.latency_ms == 0.1
    assert not any(own.meets_budgets for own in impossible.candidates)


def test_the_runs_own_budgets_are_the_default(run, candidate):
    own = candidate(0.5, 0.5)
    run.begin(latency_budget="0.5ms")
    run.train(candidate(1.0, 1.0), 1.0, 0.99)
    run.propose(1, "train", own)
    run.train(own, 0.6, 0.985)
    summary = summarise(run.store, "r1")
    assert summary.budgets.latency_ms == 0.5
    assert summary.budgets.max_accuracy_drop is None
    assert summary.best is None


def test_every_byte_shipped_is_counted_once(finished):
    agent, structures, trained = 1000, 700 + 300 + 500 + 400, 40_000 + 4000 + 4000
    summary = summarise(finished.store, "r1")
    assert summary.bytes_shipped == agent + structures + trained
    assert summary.structure_bytes.largest == 700
    assert summary.structure_bytes.model_bytes == 40_000


def test_the_newest_latency_model_and_the_seconds_of_each_stage_are_told(finished):
    summary = summarise(finished.store, "r1")
    assert summary.latency_model.measured == 3
    assert summary.stage_seconds["measure"] == 5.0
    assert summary.stage_seconds["verify"] == 3.0


def test_a_busy_device_and_failures_are_warned_of(run, candidate, measurement):
    run.begin()
    run.train(candidate(1.0, 1.0), 4.0, 0.99)
    run.add("self-test", "reference", {"bytes_shipped": 0, "measurement": measurement(1.08)})
    own, unsure = candidate(0.5, 0.5), candidate(0.5, 1.0)
    run.propose(1, "measure", own, unsure)
    run.fail("measure", own, CRASHED)
    run.measure(unsure, 0.5, off=0.2)
    busy, uncertain, failed = summarise(run.store, "r1").warnings
    assert "1.080" in busy
    assert uncertain.startswith("1 of 2 ratios")
    assert failed.startswith("1 candidates failed")


def test_the_reference_is_told_with_how_the_seed_compares_to_it(run, candidate, measurement):
    run.begin(reference=candidate(0.5, 0.5))
    run.train(candidate(1.0, 1.0), 4.0, 0.99)
    run.again("verify", candidate(1.0, 1.0), "spread-8", 6.25)
    run.add("self-test", "reference", {"bytes_shipped": 0, "measurement": measurement(1.01)})
    reference = summarise(run.store, "r1").reference
    assert reference.id == candidate(0.5, 0.5).structure_id
    assert (reference.latency_p50_ms, reference.self_ratio, reference.seed_measurements) == (1.0, 1.01, 2)
    assert reference.seed_ratio == pytest.approx(5.0)
    assert reference.seed_ratio_ci95[0] < 4.0 < 6.25 < reference.seed_ratio_ci95[1]


def test_a_run_that_measured_nothing_cannot_be_summarised(store):
    store.create_run("r1", {"config": {}, "command": []})
    with pytest.raises(StoreError, match="stopped before it measured anything") as caught:
        summarise(store, "r1")
    assert "--resume" in caught.value.hint


def test_a_run_stopped_after_its_space_still_has_a_summary(run):
    run.begin()
    summary = summarise(run.store, "r1")
    assert summary.best is None
    assert summary.seed.latency_p50_ms is None
    assert summary.candidates == ()


def test_moved_cuts_are_told_and_counted_among_the_warnings(finished):
    assert summarise(finished.store, "r1").binning.method == "stage"
    moved = ["cut 1 moved", "cut 2 moved"]
    payload = {"method": "macs", "superblocks": [], "moved": moved, "latency_ns": None, "unattributed_share": None}
    finished.add("binning", "superblocks", payload)
    summary = summarise(finished.store, "r1")
    assert summary.binning.moved == tuple(moved)
    assert any(own.startswith("superblocks by macs: 2 cuts moved") for own in summary.warnings)


def test_a_stages_layers_of_another_resolution_are_no_warning(finished):
    payload = {"method": "stage", "superblocks": [], "moved": ["told"], "latency_ns": None, "unattributed_share": None}
    finished.add("binning", "superblocks", payload)
    summary = summarise(finished.store, "r1")
    assert summary.binning.moved == ("told",)
    assert not any("superblocks by" in own for own in summary.warnings)


def test_what_lost_at_a_rung_is_halved_with_the_rung_and_its_epochs_are_counted(run, candidate):
    lost, middling, won = (candidate(*own) for own in ((0.25, 0.25), (0.5, 0.5), (0.5, 1.0)))
    run.begin()
    run.measure(candidate(1.0, 1.0), 1.0)
    run.train(candidate(1.0, 1.0), 1.0, 0.99)
    run.propose(1, "measure", lost)
    run.propose(1, "train", lost, middling, won)
    for own in (lost, middling, won):
        run.measure(own, 0.5)
    run.rung(1, 2, {lost: 0.7, middling: 0.8, won: 0.9}, stopped=[lost])
    run.rung(1, 4, {middling: 0.85, won: 0.95}, stopped=[middling])
    run.train(won, 0.5, 0.98, epochs=8)
    summary = summarise(run.store, "r1")
    told = {own.id: (own.status, own.rung_epochs, own.rung_val_top1) for own in summary.candidates}
    assert told == {
        lost.structure_id: ("halved", 2, 0.7),
        middling.structure_id: ("halved", 4, 0.85),
        won.structure_id: ("trained", 4, 0.95),
    }
    (only,) = summary.rounds
    assert (only.halved, only.trained, only.epochs) == (2, 1, 2 + 4 + 8)
    standing = run.standing()
    halved = [standing.observation(own) for own in standing.candidates if own.halved]
    assert [(own.halved, own.val_top1, own.failed) for own in halved] == [(True, None, False)] * 2


def test_what_fails_on_the_way_to_a_rung_failed(run, candidate):
    own = candidate(0.5, 0.5)
    run.begin()
    run.propose(1, "train", own)
    run.measure(own, 0.5)
    run.add("rung", f"{own.structure_id}@2", CRASHED)
    assert run.standing().candidates[0].status == "failed"
