"""What makes a run resumable: every stage's outcome is acknowledged once, and never made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from scbp_host.domain.outcome import Failure
from scbp_host.errors import ScbpError
from scbp_host.events import Acknowledged, Listener
from scbp_host.store import Store

Payload = dict[str, Any]
Compute = Callable[[], Mapping[str, object] | Failure]


class Ledger:
    """One run's outcomes.

    Args:
        store: where they are kept.
        run_id: which run.
        listen: told of each acknowledgement, after it is on disk.
    """

    def __init__(self, store: Store, run_id: str, listen: Listener) -> None:
        self._store = store
        self.run_id = run_id
        self._listen = listen

    def once(self, stage: str, subject: str, compute: Compute) -> Payload | Failure:
        """Return the acknowledged outcome; only where there is none (or a transient failure) compute it.

        Args:
            stage: name of the stage.
            subject: what it is about, e.g. a candidate's id.
            compute: returns the result in JSON form, or a Failure.
        """
        known = self._store.get(self.run_id, stage, subject)
        if known is not None and not (known.failure and known.failure.transient):
            self._listen(Acknowledged(stage, subject, reused=True))
            return known.failure or known.payload or {}
        started = time.monotonic()
        result = compute()
        write = self._store.append if known is None else self._store.replace_failure
        outcome = write(self.run_id, stage, subject, result, time.monotonic() - started)
        self._listen(Acknowledged(stage, subject))
        return outcome.failure or outcome.payload or {}

    def must(self, stage: str, subject: str, compute: Compute) -> Payload:
        """Return :meth:`once`'s result; a failure here ends the run, since nothing can go on without it.

        Raises:
            ScbpError: the stage failed.
        """
        result = self.once(stage, subject, compute)
        if isinstance(result, Failure):
            raise ScbpError(f"{stage} of {subject} failed: {result.message}", result.hint)
        return result

    def subjects(self, stage: str) -> set[str]:
        """Return what a stage has an acknowledged outcome of, results and failures."""
        return {outcome.subject for outcome in self._store.outcomes(self.run_id, stage)}

    def seconds(self, stage: str) -> list[float]:
        """Return how long each outcome of a stage took, failures among them."""
        outcomes = self._store.outcomes(self.run_id, stage)
        return [outcome.seconds for outcome in outcomes if outcome.seconds is not None]

    def payloads(self, stage: str) -> dict[str, Payload]:
        """Return every result of a stage by subject, in the order acknowledged."""
        return {
            outcome.subject: outcome.payload
            for outcome in self._store.outcomes(self.run_id, stage)
            if outcome.payload is not None
        }
