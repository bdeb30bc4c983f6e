"""Runs and their stage outcomes. What :meth:`Store.append` has returned survives SIGKILL and power loss."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from scbp_host.domain.outcome import Failure
from scbp_host.errors import StoreError
from scbp_host.store.connection import BUSY_TIMEOUT_S, WRITE, sqlite_engine, store_errors
from scbp_host.store.migrate import check_file, upgrade
from scbp_host.store.records import Outcome, RunRecord, RunStatus
from scbp_host.store.schema import OutcomeRow, RunRow

# Name of the file in the folder of the runs.
STORE_FILE = "scbp.sqlite"
_LISTED_RUNS = 5
_Row = TypeVar("_Row", RunRow, OutcomeRow)


class Store:
    """An open store; :meth:`open` is the way to one, and it closes as a context manager.

    Args:
        path: the file, for messages.
        engine: an engine on it, migrated.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self._engine = engine

    @classmethod
    def open(cls, path: Path, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open a store and bring an older one to this version's schema.

        Args:
            path: the SQLite file.
            create: make file and folders where there are none.
            busy_timeout_s: how long a write waits for another process's.

        Raises:
            StoreError: the file is missing (without ``create``), not a store, of a newer schema, or cannot be written.
        """
        if not create and not path.exists():
            raise StoreError(f"{path}: there is no store", "start with: scbp-host run --device local")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_file(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot open the store ({error})", "name another folder for the run") from error
        engine = sqlite_engine(path, busy_timeout_s)
        with store_errors(path):
            upgrade(engine, path)
        return cls(path, engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the file; with the last connection the WAL is folded into it."""
        self._engine.dispose()

    def create_run(self, run_id: str, config: Mapping[str, object]) -> RunRecord:
        """Record a new run as running; raises StoreError where the id is taken."""
        canonical = json.dumps(dict(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
        row = RunRow(
            id=run_id,
            created_at=_now(),
            config=dict(config),
            config_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
            status=RunStatus.RUNNING.value,
        )
        with self._writing() as session:
            if session.get(RunRow, run_id) is not None:
                raise StoreError(f"{self.path}: run {run_id!r} exists already", "continue it with --resume")
            session.add(row)
            return _run_record(_as_stored(session, row))

    def runs(self) -> tuple[RunRecord, ...]:
        """Return every run, the newest first."""
        with self._reading() as session:
            rows = session.scalars(select(RunRow).order_by(RunRow.created_at.desc(), RunRow.id.desc()))
            return tuple(_run_record(row) for row in rows)

    def run(self, run_id: str) -> RunRecord:
        """Return one run; raises StoreError that names the nearest and the newest where there is none."""
        with self._reading() as session:
            return _run_record(self._run_row(session, run_id))

    def finish_run(self, run_id: str, status: RunStatus) -> RunRecord:
        """Set where a run stands; raises StoreError where there is no such run."""
        with self._writing() as session:
            row = self._run_row(session, run_id)
            row.status = RunStatus(status).value
            return _run_record(row)

    def append(
        self, run_id: str, stage: str, subject: str, result: Mapping[str, object] | Failure, seconds: float
    ) -> Outcome:
        """Acknowledge what a stage came to; it is on disk when this returns, and is never overwritten.

        Args:
            run_id: the run.
            stage: name of the stage.
            subject: what it was about; one outcome for each (run, stage, subject).
            result: the result in JSON form, or why there is none.
            seconds: how long it took.

        Raises:
            StoreError: there is no such run, the outcome is acknowledged already, or the file cannot be written.
        """
        with self._writing() as session:
            self._run_row(session, run_id)
            if _outcome_row(session, run_id, stage, subject) is not None:
                raise StoreError(f"{self.path}: run {run_id!r} has acknowledged stage {stage!r} of {subject!r} already")
            return _insert(session, run_id, stage, subject, result, seconds)

    def replace_failure(
        self, run_id: str, stage: str, subject: str, result: Mapping[str, object] | Failure, seconds: float
    ) -> Outcome:
        """Acknowledge a second try of a stage whose outcome is a transient failure; it moves to the end of the order.

        Raises:
            StoreError: there is no such outcome, or it is a result or a permanent failure.
        """
        with self._writing() as session:
            row = _outcome_row(session, run_id, stage, subject)
            if row is None or not row.failure_transient:
                found = "no outcome" if row is None else f"a {'result' if row.ok else 'permanent failure'}"
                raise StoreError(
                    f"{self.path}: only a transient failure may be replaced, and run {run_id!r} holds {found} "
                    f"for stage {stage!r} of {subject!r}"
                )
            session.delete(row)
            session.flush()
            return _insert(session, run_id, stage, subject, result, seconds)

    def get(self, run_id: str, stage: str, subject: str) -> Outcome | None:
        """Return one outcome, or None where the stage has not been acknowledged."""
        with self._reading() as session:
            row = _outcome_row(session, run_id, stage, subject)
            return None if row is None else _outcome(row)

    def outcomes(self, run_id: str, stage: str | None = None) -> tuple[Outcome, ...]:
        """Return a run's outcomes, of one stage or of all, in the order they were acknowledged."""
        query = select(OutcomeRow).where(OutcomeRow.run_id == run_id).order_by(OutcomeRow.id)
        if stage is not None:
            query = query.where(OutcomeRow.stage == stage)
        with self._reading() as session:
            return tuple(_outcome(row) for row in session.scalars(query))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with store_errors(self.path), Session(self._engine) as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        engine = self._engine.execution_options(**WRITE)
        with store_errors(self.path), Session(engine) as session, session.begin():
            yield session

    def _run_row(self, session: Session, run_id: str) -> RunRow:
        row = session.get(RunRow, run_id)
        if row is not None:
            return row
        known = list(session.scalars(select(RunRow.id).order_by(RunRow.created_at.desc())))
        near = difflib.get_close_matches(run_id, known, n=1)
        nearest = f" (did you mean {near[0]!r}?)" if near else ""
        newest = f"the newest: {', '.join(known[:_LISTED_RUNS])}" if known else "it holds none"
        raise StoreError(f"{self.path}: no run {run_id!r}{nearest}; {newest}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _insert(
    session: Session, run_id: str, stage: str, subject: str, result: Mapping[str, object] | Failure, seconds: float
) -> Outcome:
    failure = result if isinstance(result, Failure) else None
    row = OutcomeRow(
        run_id=run_id,
        stage=stage,
        subject=subject,
        ok=failure is None,
        payload=None if isinstance(result, Failure) else dict(result),
        failure_kind=failure and failure.kind.value,
        failure_message=failure and failure.message,
        failure_hint=failure and failure.hint,
        failure_transient=failure and failure.transient,
        seconds=seconds,
        created_at=_now(),
    )
    session.add(row)
    return _outcome(_as_stored(session, row))


def _as_stored(session: Session, row: _Row) -> _Row:
    # Read back through JSON, so that a fresh outcome equals the one a resumed run reads (tuples become lists).
    session.flush()
    session.refresh(row)
    return row


def _outcome_row(session: Session, run_id: str, stage: str, subject: str) -> OutcomeRow | None:
    query = select(OutcomeRow).filter_by(run_id=run_id, stage=stage, subject=subject)
    return session.scalars(query).one_or_none()


def _run_record(row: RunRow) -> RunRecord:
    return RunRecord(row.id, row.created_at, row.config, row.config_sha256, RunStatus(row.status))


def _outcome(row: OutcomeRow) -> Outcome:
    failure = None
    if not row.ok:
        failure = Failure.from_json(
            {
                "kind": row.failure_kind,
                "message": row.failure_message,
                "hint": row.failure_hint,
                "transient": row.failure_transient,
            }
        )
    return Outcome(row.stage, row.subject, row.payload, failure, row.seconds, row.created_at)
