import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import EXIT_USAGE, StoreError
from scbp_host.store import RunStatus, Store

TIMEOUT = Failure(FailureKind.TIMEOUT, "no answer within 30 s", "give it longer", transient=True)
BAD_MODEL = Failure(FailureKind.BAD_MODEL, "opset 18 is not 13", "export again")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "store.sqlite"


@pytest.fixture
def store(path):
    with Store.open(path) as store:
        store.create_run("r1", {"device": "local"})
        yield store


def test_outcomes_come_back_in_the_order_they_were_acknowledged(path, store):
    first = store.append("r1", "measure", "c9", {"latency_ns": [3, 1, 2], "widths": {"b": 8, "a": 16}}, 1.5)
    second = store.append("r1", "measure", "c1", BAD_MODEL, 0.25)
    third = store.append("r1", "train", "c9", {"val_top1": 0.98}, 12.0)
    store.close()

    with Store.open(path) as again:
        assert again.outcomes("r1") == (first, second, third)
        assert again.outcomes("r1", "measure") == (first, second)
        assert again.outcomes("r1", "export") == ()
    assert first.ok
    assert first.failure is None
    assert list(first.payload["widths"]) == ["b", "a"], "the order of keys is part of the payload"
    assert (first.stage, first.subject, first.seconds) == ("measure", "c9", 1.5)


def test_a_failure_comes_back_whole(store):
    store.append("r1", "measure", "c1", TIMEOUT, 30.0)
    outcome = store.get("r1", "measure", "c1")
    assert outcome.failure == TIMEOUT
    assert outcome.payload is None
    assert not outcome.ok


def test_a_fresh_outcome_equals_the_one_a_resumed_run_reads(store):
    fresh = store.append("r1", "measure", "c1", {"input_shape": (3, 32, 32)}, 0.1)
    assert fresh == store.get("r1", "measure", "c1")


def test_an_outcome_nobody_acknowledged_is_none(store):
    assert store.get("r1", "measure", "c1") is None


@pytest.mark.parametrize("first", [{"val_top1": 0.98}, BAD_MODEL, TIMEOUT])
def test_an_acknowledged_outcome_is_never_overwritten(store, first):
    kept = store.append("r1", "train", "c1", first, 1.0)
    with pytest.raises(StoreError, match="acknowledged stage 'train' of 'c1' already"):
        store.append("r1", "train", "c1", {"val_top1": 0.5}, 1.0)
    assert store.outcomes("r1") == (kept,)


def test_the_same_stage_of_another_run_is_another_outcome(store):
    store.create_run("r2", {})
    store.append("r1", "train", "c1", {"val_top1": 0.9}, 1.0)
    store.append("r2", "train", "c1", {"val_top1": 0.8}, 1.0)
    assert store.get("r1", "train", "c1").payload == {"val_top1": 0.9}
    assert store.get("r2", "train", "c1").payload == {"val_top1": 0.8}


def test_a_transient_failure_is_replaced_by_the_second_try(store):
    store.append("r1", "measure", "c1", TIMEOUT, 30.0)
    other = store.append("r1", "measure", "c2", {}, 1.0)
    again = store.replace_failure("r1", "measure", "c1", {"latency_ns": [1]}, 2.0)
    assert store.outcomes("r1") == (other, again)
    assert again.payload == {"latency_ns": [1]}


@pytest.mark.parametrize(
    ("first", "found"), [({"val_top1": 0.9}, "a result"), (BAD_MODEL, "a permanent failure"), (None, "no outcome")]
)
def test_nothing_but_a_transient_failure_is_replaced(store, first, found):
    if first is not None:
        store.append("r1", "train", "c1", first, 1.0)
    before = store.outcomes("r1")
    with pytest.raises(StoreError, match=f"holds {found}"):
        store.replace_failure("r1", "train", "c1", {"val_top1": 0.1}, 1.0)
    assert store.outcomes("r1") == before


def test_appending_to_a_run_that_is_not_there_is_refused(store):
    with pytest.raises(StoreError, match="no run 'r2'"):
        store.append("r2", "train", "c1", {}, 1.0)


def test_nan_is_refused_rather_than_stored(store):
    with pytest.raises(Exception, match="not JSON compliant"):
        store.append("r1", "train", "c1", {"loss": float("nan")}, 1.0)
    assert store.outcomes("r1") == ()


def test_runs_are_listed_newest_first_with_where_they_stand(store):
    store.create_run("r0", {"device": "local"})
    store.finish_run("r1", RunStatus.FINISHED)
    assert [(run.id, run.status) for run in store.runs()] == [("r0", RunStatus.RUNNING), ("r1", RunStatus.FINISHED)]


def test_a_config_comes_back_and_its_hash_does_not_depend_on_the_order_of_keys(store):
    config = {"device": "local", "ratios": [1.0, 0.5]}
    one = store.create_run("one", config)
    other = store.create_run("other", dict(reversed(config.items())))
    assert store.run("one") == one
    assert one.config == config
    assert one.config_sha256 == other.config_sha256 != store.run("r1").config_sha256


def test_a_run_id_is_taken_once(store):
    with pytest.raises(StoreError, match="run 'r1' exists already") as caught:
        store.create_run("r1", {})
    assert "--resume" in caught.value.hint
    assert store.run("r1").config == {"device": "local"}


def test_a_missing_run_names_the_nearest(store):
    store.create_run("20260102-local", {})
    with pytest.raises(StoreError, match=r"no run '20260102-locl' \(did you mean '20260102-local'\?\).*r1") as caught:
        store.run("20260102-locl")
    assert caught.value.exit_code == EXIT_USAGE


def test_without_create_a_missing_store_is_an_error_and_stays_missing(path):
    with pytest.raises(StoreError, match="there is no store"):
        Store.open(path, create=False)
    assert not path.parent.exists()


@pytest.mark.parametrize("blocked", [Path("file/store.sqlite"), Path("folder")])
def test_a_path_that_cannot_hold_a_store_is_one_line(tmp_path, blocked):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / blocked)
    assert str(tmp_path / blocked) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_second_writer_is_told_and_may_still_read(path, store):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store.open(path, busy_timeout_s=0.01) as second:
        with pytest.raises(StoreError, match="another process is writing"):
            second.append("r1", "train", "c1", {}, 1.0)
        assert second.outcomes("r1") == ()
        other.execute("COMMIT")
        assert second.append("r1", "train", "c1", {}, 1.0) == store.get("r1", "train", "c1")
    other.close()


def test_writers_that_take_turns_all_get_through(path, store):
    def write(run_id):
        with Store.open(path, busy_timeout_s=60) as mine:
            mine.create_run(run_id, {})
            for number in range(40):
                mine.append(run_id, "measure", f"c{number}", {}, 0.0)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, ("a", "b", "c")))
    assert [len(store.outcomes(run_id)) for run_id in ("a", "b", "c")] == [40, 40, 40]


def test_every_connection_is_durable_patient_and_checks_foreign_keys(store):
    with store._engine.connect() as one, store._engine.connect() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            ]
            assert found == ["wal", 2, 5000, 1]


CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from scbp_host.store import Store

with Store.open(Path(sys.argv[1])) as store:
    store.create_run("r1", {})
    for number in range(1_000_000):
        store.append("r1", "measure", f"c{number}", {"number": number}, 0.0)
        print(number, flush=True)
"""


def test_sigkill_loses_no_acknowledged_outcome(path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True) as child:
        acknowledged = [int(child.stdout.readline()) for _ in range(40)]
        child.kill()
        acknowledged += [int(line) for line in child.stdout.read().splitlines()]
    assert child.returncode == -signal.SIGKILL
    with Store.open(path) as store:
        stored = [outcome.payload["number"] for outcome in store.outcomes("r1")]
        assert stored[: len(acknowledged)] == acknowledged
        # At most the one row whose acknowledgement the kill cut off.
        assert len(stored) - len(acknowledged) in (0, 1)
        assert store.run("r1").status is RunStatus.RUNNING
        store.append("r1", "measure", "after", {}, 0.0)
