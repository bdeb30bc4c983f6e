"""SIGKILL at many moments of one run: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.errors import StoreError
from scbp_host.events import ignore
from scbp_host.measuring.session import MeasureSettings
from scbp_host.store import STORE_FILE, Outcome, RunStatus, Store

# Runs the pipeline and says each acknowledgement aloud, after the store has it.
SCRIPT = """
import json, sys
from scbp_host import pipeline
from scbp_host.config import RunConfig
from scbp_host.events import Acknowledged
from scbp_host.measuring.session import MeasureSettings

def listen(event):
    if isinstance(event, Acknowledged):
        print(event.stage, event.subject, "reused" if event.reused else "new", flush=True)

config = RunConfig.model_validate_json(sys.argv[1])
settings = MeasureSettings(
    loads=4, blocks=4, block_s=0.002, sampling_s=None, warmup_s=0.005, solo_runs=2, most_discarded=0
)
pipeline.run(config, listen, resume=sys.argv[2] == "resume", settings=settings)
"""


def start(config: RunConfig, mode: str) -> subprocess.Popen[str]:
    # This process's own path: the packages under test, and nothing that happens to be installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, config.model_dump_json(), mode],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def rows(config: RunConfig) -> list[Outcome]:
    with Store.open(config.out / STORE_FILE) as store:
        (run,) = store.runs()
        return list(store.outcomes(run.id))


def finished(config: RunConfig) -> bool:
    with Store.open(config.out / STORE_FILE) as store:
        return store.runs()[0].status is RunStatus.FINISHED


def test_killed_again_and_again_a_run_loses_and_repeats_nothing(tiny_config: RunConfig) -> None:
    moments = random.Random(7)
    acknowledged: list[tuple[str, str]] = []
    kills, mode = 0, "new"
    while True:
        process = start(tiny_config, mode)
        assert process.stdout is not None
        survive = moments.randint(1, 5)
        for line in process.stdout:
            stage, rest = line.split(maxsplit=1)
            subject, how = rest.rsplit(maxsplit=1)  # a subject may be several words
            if how == "reused":
                assert (stage, subject) in acknowledged
                continue
            assert (stage, subject) not in acknowledged, "a stage that was acknowledged was done again"
            acknowledged.append((stage, subject))
            survive -= 1
            if survive == 0:
                break
        else:
            assert process.wait() == 0
            break
        # Not at the acknowledgement itself but somewhere in what follows it.
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        mode = "resume"
        stored = [(own.stage, own.subject) for own in rows(tiny_config)]
        # The store may be one ahead: killed between the write and the word.
        assert stored[: len(acknowledged)] == acknowledged
        acknowledged = stored
        if finished(tiny_config):  # it was faster than the kill
            break
    assert kills >= 4, "the run ended before it was killed often enough to prove anything"
    stored = [(own.stage, own.subject) for own in rows(tiny_config)]
    assert len(stored) == len(set(stored))
    assert finished(tiny_config)
    assert list(tiny_config.out.glob("*/report.html")), "finished means that the report is there"


def test_resume_refuses_what_is_not_the_same_run(tiny_config: RunConfig, quick: MeasureSettings) -> None:
    pipeline.run(tiny_config, ignore, settings=quick)
    with pytest.raises(StoreError, match="no unfinished run of this configuration"):
        pipeline.run(tiny_config, ignore, resume=True, settings=quick)
