import shutil
import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import EXIT_USAGE, StoreError
from scbp_host.store import Store, migrate
from scbp_host.store.connection import sqlite_engine
from scbp_host.store.migrate import head_revision, upgrade
from scbp_host.store.schema import Base


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


def write(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def read(path, query):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def revision_of(path):
    return read(path, "SELECT version_num FROM alembic_version")


def columns_of(path, table):
    return [name for _, name, *_ in read(path, f"PRAGMA table_info({table})")]


@pytest.fixture
def first_store(path):
    """A store as the first version wrote it: without ``outcome.seconds``, with data."""
    engine = sqlite_engine(path)
    upgrade(engine, path, "0001")
    engine.dispose()
    write(
        path,
        """INSERT INTO run VALUES ('r1', '2026-01-02T03:04:05.000000+00:00', '{"device":"local"}', 'abc',
           'finished')""",
        """INSERT INTO outcome VALUES (7, 'r1', 'measure', 'c1', 1, '{"latency_ns":[1,2]}', NULL, NULL, NULL, NULL,
           '2026-01-02T03:04:06.000000+00:00')""",
        """INSERT INTO outcome VALUES (8, 'r1', 'measure', 'c2', 0, NULL, 'TIMEOUT', 'no answer', 'try again', 1,
           '2026-01-02T03:04:07.000000+00:00')""",
    )
    return path


def test_an_older_store_migrates_without_loss(first_store):
    with Store.open(first_store) as store:
        measured, failed = store.outcomes("r1")
        assert store.run("r1").config == {"device": "local"}
        assert measured.payload == {"latency_ns": [1, 2]}
        assert measured.seconds is None, "what an old store did not record is unknown, not zero"
        assert failed.failure == Failure(FailureKind.TIMEOUT, "no answer", "try again", transient=True)
        assert store.append("r1", "train", "c1", {}, 2.5).seconds == 2.5
    assert revision_of(first_store) == [(head_revision(),)]


def test_a_migration_that_fails_half_way_leaves_the_old_schema(first_store):
    write(
        first_store,
        "CREATE TRIGGER full BEFORE UPDATE ON alembic_version BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
    )
    with pytest.raises(StoreError, match="disk is full"):
        Store.open(first_store)
    assert "seconds" not in columns_of(first_store, "outcome")
    assert revision_of(first_store) == [("0001",)]

    write(first_store, "DROP TRIGGER full")
    with Store.open(first_store) as store:
        assert len(store.outcomes("r1")) == 2


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_store_from_the_future_is_refused_untouched(path, journal_mode):
    Store.open(path).close()
    write(path, "UPDATE alembic_version SET version_num = '9999'", f"PRAGMA journal_mode = {journal_mode}")
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    assert path.read_bytes() == before
    for part in (str(path), "9999", head_revision()):
        assert part in caught.value.message
    assert "upgrade scbp" in caught.value.hint
    assert caught.value.exit_code == EXIT_USAGE


def test_a_file_that_is_no_database_is_refused_untouched(path):
    path.write_text("these are my notes, please keep them\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="expected an SQLite store, but file is not a database") as caught:
        Store.open(path)
    assert "\n" not in caught.value.message
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused_untouched(path):
    write(path, "CREATE TABLE photos (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a store of scbp"):
        Store.open(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    with Store.open(path) as store:
        assert store.runs() == ()


def test_opening_a_current_store_writes_nothing(path):
    Store.open(path).close()
    before = path.read_bytes()
    Store.open(path).close()
    assert path.read_bytes() == before


def test_a_folder_with_a_percent_sign_is_no_format_string(tmp_path):
    with Store.open(tmp_path / "50%(x)s ?#" / "store.sqlite") as store:
        store.create_run("r1", {})
        assert store.path.exists()


def test_an_installation_in_a_folder_with_a_percent_sign_migrates(first_store, tmp_path, monkeypatch):
    installed = tmp_path / "50%(x)s" / "migrations"
    shutil.copytree(migrate._MIGRATIONS, installed)
    monkeypatch.setattr(migrate, "_MIGRATIONS", installed)
    with Store.open(first_store) as store:
        assert len(store.outcomes("r1")) == 2


def test_the_migrations_arrive_at_the_schema_the_code_uses(path):
    with Store.open(path) as store, store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_row_is_a_result_or_a_failure_never_both(path):
    with Store.open(path) as store:
        store.create_run("r1", {})
    row = "INSERT INTO outcome (run_id, stage, subject, ok, payload, failure_kind, created_at) VALUES ('r1','s','c',"
    for values in ("1, '{}', 'TIMEOUT', '')", "0, '{}', NULL, '')", "1, NULL, NULL, '')"):
        with pytest.raises(sqlite3.IntegrityError):
            write(path, row + values)
