"""Several trainings at once, each in a process of its own: small networks alone leave most of a GPU idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue

from scbp_host.domain.candidate import Candidate
from scbp_host.events import Warned
from scbp_host.stages.candidates import OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.training_worker import Epoch, Job

# From a worker: what it said, or None when it has ended.
Message = tuple[Candidate, Epoch | None]


class TrainingPool:
    """Takes candidates to an epoch, as many at a time as the configuration says.

    Processes share nothing but files: the trained seed and the checkpoints, safetensors both. A worker that ends before
    its time costs only time, since whoever goes on from the checkpoint trains what is missing.

    Args:
        run: the run.
        seed: the seed as a point of the space, trained.
    """

    def __init__(self, run: RunContext, seed: Candidate) -> None:
        self._run = run
        self._seed = seed

    def advance(
        self, candidates: Sequence[Candidate], until: int | None, listen: Callable[[Candidate], OnEpoch]
    ) -> None:
        """Train every candidate to ``until`` (None: to the end); their checkpoints hold what came of it."""
        messages: SimpleQueue[Message] = SimpleQueue()
        waiting, running = list(candidates), dict[str, _Worker]()
        try:
            while waiting or running:
                while waiting and len(running) < self._run.config.train_workers:
                    candidate = waiting.pop(0)
                    running[candidate.structure_id] = _Worker(self._job(candidate, until), messages)
                candidate, epoch = messages.get()
                if epoch is not None:
                    listen(candidate)(epoch.epoch, epoch.epochs, epoch.val_top1)
                elif problem := running.pop(candidate.structure_id).close():
                    self._run.listen(Warned(f"{problem}; its training goes on in the run's own process"))
        finally:
            for worker in running.values():
                worker.kill()

    def _job(self, candidate: Candidate, until: int | None) -> Job:
        artifacts = self._run.artifacts
        seed_folder = artifacts.of(self._seed.structure_id)
        return Job(self._run.config, candidate, seed_folder, artifacts.checkpoint(candidate.structure_id), until)


class _Worker:
    """A running process and the thread that hears it."""

    def __init__(self, job: Job, messages: SimpleQueue[Message]) -> None:
        self._candidate = job.candidate
        self._messages = messages
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - _release closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scbp_host.stages.training_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(job.config.train_workers),
        )
        assert self._process.stdin is not None, "it was asked for"
        with suppress(BrokenPipeError):  # it ended already: close() says why
            self._process.stdin.write(job.to_line())
            self._process.stdin.flush()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def close(self) -> str | None:
        """Wait for the end; return what went wrong, if anything did."""
        code = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
        self._release()
        return (
            None if code == 0 else f"the worker of {self._candidate.structure_id} ended with exit code {code}: {last}"
        )

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._release()

    def _hear(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        try:
            for line in self._process.stdout:
                self._messages.put((self._candidate, Epoch.from_json(json.loads(line))))
        finally:
            self._messages.put((self._candidate, None))

    def _release(self) -> None:
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()


def _environment(workers: int) -> dict[str, str]:
    # A user's factory is found where this process finds it; and workers on the CPU share its cores.
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    return {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
