"""Finding a run in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scbp_host.errors import StoreError
from scbp_host.store import STORE_FILE, Store


@contextmanager
def open_run(folder: Path, run_id: str | None) -> Iterator[tuple[Store, str]]:
    """Open the store in ``folder`` and name the run: the given one, or the newest.

    Raises:
        StoreError: no store, no such run, or no run at all.
    """
    with Store.open(folder / STORE_FILE, create=False) as store:
        if run_id is None:
            runs = store.runs()
            if not runs:
                raise StoreError(f"{store.path}: no run yet", "start one with: scbp-host run --device local")
            run_id = runs[0].id
        yield store, store.run(run_id).id
