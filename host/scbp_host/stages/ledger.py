"""What makes a run resumable: every stage's outcome is acknowledged once, and never made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scbp_host.domain.outcome import Failure
from scbp_host.errors import ScbpError
from scbp_host.events import Acknowledged, Listener
from scbp_host.store import Outcome, Store

Payload = dict[str, Any]
Result = Mapping[str, object] | Failure
Compute = Callable[[], Result]
ComputeSeveral = Callable[[list[str]], Sequence[Result]]


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
        return self.several(stage, [subject], lambda _subjects: [compute()])[subject]

    def several(self, stage: str, subjects: Sequence[str], compute: ComputeSeveral) -> dict[str, Payload | Failure]:
        """Return the acknowledged outcomes of several subjects; those without one (or with a transient failure) are
        computed together, and take equal parts of the time.

        Args:
            stage: name of the stage.
            subjects: what it is about, e.g. candidates' ids.
            compute: takes the subjects that are to be computed, and returns a result or a Failure for each.
        """
        known = {own: self._store.get(self.run_id, stage, own) for own in subjects}
        missing = [own for own, outcome in known.items() if outcome is None or _is_transient(outcome)]
        for own in subjects:
            if own not in missing:
                self._listen(Acknowledged(stage, own, reused=True))
        started = time.monotonic()
        results = compute(missing) if missing else []
        seconds = (time.monotonic() - started) / max(1, len(missing))
        for own, result in zip(missing, results, strict=True):
            write = self._store.append if known[own] is None else self._store.replace_failure
            known[own] = write(self.run_id, stage, own, result, seconds)
            self._listen(Acknowledged(stage, own))
        return {own: outcome.failure or outcome.payload or {} for own, outcome in known.items() if outcome is not None}

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


def _is_transient(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure.transient
