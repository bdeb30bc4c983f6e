"""Bring a store to this version's schema, or refuse it untouched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from scbp_host import __version__
from scbp_host.errors import StoreError
from scbp_host.store.connection import WRITE

_MIGRATIONS = Path(__file__).parent / "migrations"


def head_revision() -> str:
    """Return the revision this version of scbp writes."""
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def check_file(path: Path) -> None:
    """Raise StoreError unless ``path`` is absent, empty, or a store of this or an older schema.

    The file is opened read-only, so a refused one keeps every byte.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    try:
        tables, revision = _inspect_file(path)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: expected an SQLite store, but {error}", "name another folder for the run") from error
    if revision is None and tables:
        raise StoreError(f"{path}: an SQLite database, but not a store of scbp", "name another folder for the run")
    if revision is not None and revision not in _known_revisions():
        raise StoreError(
            f"{path}: store schema {revision} is newer than {head_revision()}, the newest scbp {__version__} reads",
            "upgrade scbp, or name another folder for the run",
        )


def upgrade(engine: Engine, path: Path, revision: str | None = None) -> None:
    """Migrate the store to ``revision`` (None: this version's) in one transaction; a current one is only read.

    Args:
        engine: the open store.
        path: its file, for messages.
        revision: an older revision to stop at; how tests make the stores of older versions.
    """
    target = revision or head_revision()
    if _current_revision(engine) == target:
        return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    # One transaction, schema changes included: a migration that is killed half-way leaves the old schema. The write
    # lock is taken first: of two processes that open an old store, the second finds it migrated.
    with engine.execution_options(**WRITE).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, target)


def _inspect_file(path: Path) -> tuple[set[str], str | None]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            return tables, None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return tables, None if row is None else str(row[0])
    finally:
        connection.close()


def _known_revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}


def _current_revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
