"""SQLite as an acknowledgement wants it: on disk before COMMIT returns, one writer at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from scbp_host.errors import StoreError

BUSY_TIMEOUT_S = 5.0
# An execution option: take the write lock at BEGIN, so that what a transaction reads is still true when it writes.
WRITE = {"sqlite_begin": "BEGIN IMMEDIATE"}

_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def sqlite_engine(path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return an engine for ``path``; nothing is opened yet.

    Args:
        path: the database file.
        busy_timeout_s: how long to wait for another process's write lock.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s},
        # NaN is not JSON: better an error here than a file that other tools cannot read.
        json_serializer=partial(json.dumps, allow_nan=False, separators=(",", ":")),
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: SqliteConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver would open transactions on its own, and not around DDL; _begin does it instead.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn the database's errors into one line that names the file."""
    try:
        yield
    except DatabaseError as error:
        reason = str(error.orig)
        if "locked" in reason:
            raise StoreError(f"{path}: another process is writing to this store", "wait for that run to end") from error
        raise StoreError(f"{path}: {reason}", "check the folder's permissions and free space") from error
