"""Which run of the store this is: a new one, or the unfinished one that is gone on with."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scbp_host.config import RunConfig
from scbp_host.errors import StoreError
from scbp_host.store import RunStatus, Store


def new_run(store: Store, config: RunConfig, command: Sequence[str]) -> str:
    """Create a run and return its id, which says when and on what device; ``command`` is for the record."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id = f"{stamp}-{Path(config.device).stem}-{secrets.token_hex(2)}"
    store.create_run(run_id, {"config": config.identity(), "command": list(command)})
    return run_id


def resumed_run(store: Store, config: RunConfig) -> str:
    """Return the newest unfinished run of the same configuration; raises StoreError where there is none."""
    unfinished = [own for own in store.runs() if own.status is not RunStatus.FINISHED]
    for own in unfinished:
        if config.agrees_with(own.config["config"]):
            store.finish_run(own.id, RunStatus.RUNNING)
            return own.id
    hint = f"unfinished runs: {', '.join(own.id for own in unfinished[:5]) or 'none'}; start anew without --resume"
    raise StoreError(f"{store.path}: no unfinished run of this configuration", hint)
