"""A whole run by the guided search, on this machine: round after round until a budget is spent."""

from __future__ import annotations

from scbp_host.config import RunConfig
from scbp_host.events import ignore
from scbp_host.measuring.session import MeasureSettings
from scbp_host.pipeline import run
from scbp_host.report.summary import Summary
from scbp_host.stages.names import AGAIN, DECIDE, VERIFY
from scbp_host.store import STORE_FILE, Store

MOST, BATCH = 4, 3
ASKED = {
    # Of the smallest seed, noise can make all that is left slower than the seed: then nothing is left to train.
    "model": "tiny_seed:wide",
    "strategy": "guided",
    "ratios": (1.0, 0.75, 0.5, 0.25),
    "measure": 4,
    "train": BATCH,
    "rounds": None,
    "max_trainings": MOST,
    "min_improvement": 0.0,
    "decide_seconds": 2.0,
}


def test_a_guided_run_ends_by_its_budget_and_says_so(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    config = tiny_config.model_copy(update=ASKED)
    result = run(config, ignore, settings=quick)
    summary = result.summary
    trained = [own for own in summary.candidates if own.status == "trained"]
    assert len(trained) == MOST, "no structure twice"
    assert [own.trained for own in summary.rounds] == [BATCH, MOST - BATCH]
    assert summary.order is not None
    with Store.open(config.out / STORE_FILE) as store:
        outcomes = store.outcomes(summary.run_id)
    again = [own.subject for own in outcomes if own.stage == AGAIN[VERIFY] and DECIDE in own.subject]
    assert len(again) == summary.order.repeats
    assert summary.order.open == 0 or summary.order.text.startswith(str(summary.order.open))
    assert summary.stopped is not None
    assert (summary.stopped.reason, summary.stopped.text) == ("max_trainings", f"{MOST} of {MOST} trainings are done")
    assert f"{MOST} of {MOST} trainings are done" in (result.folder / "report.html").read_text(encoding="utf-8")
    assert Summary.from_json((result.folder / "summary.json").read_bytes()) == summary
