"""What the agent adds: to the latency of a run, and to a request beside the worker that it starts.

The run: in a process like a worker's, watched as a worker is, the agent's own path and a bare loop over onnxruntime
take turns in blocks, each with a session of its own made with the same options; from load to load they take turns in
who is loaded first. The figure is agent / bare, with its interval, as scbp estimates a candidate's ratio.

The request: the whole answer to a request less the time of its worker, and the round trip over the pipes.

python tests/bench/agent_overhead.py [--quick] --json docs/bench/agent_overhead.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime

from scbp_agent import tensors, timing, watch, wire
from scbp_agent.blobs import BlobStore
from scbp_agent.clocks import Clocks
from scbp_agent.lock import BoardLock
from scbp_agent.methods import Methods
from scbp_agent.runtimes import base
from scbp_agent.server import Session
from scbp_agent.worker import Supervisor
from scbp_host.device.client import open_device
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.paired import latency_ratio, quantile_ns
from scbp_host.profiles import load_profile
from scbp_host.space.derive import derive
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage

OPTIONS = wire.RuntimeOptions("onnxruntime", 1, {})
LATENCY_BOUND, REQUEST_BOUND_S = 0.02, 0.020
# Short blocks of a fast network: of that the agent's part is the largest share, and where something else takes the core
# now and then, most blocks are spared.
BLOCKS, BLOCK_NS, WARMUP_NS = 64, 2_000_000, 20_000_000
WIDTH = 0.25


class BareSession:
    """An InferenceSession and nothing else, made with the arguments that the agent gives."""

    def __init__(self, path: str) -> None:
        self._arguments, self._keywords = session_arguments(path)

    def __enter__(self) -> BareSession:
        self.session = onnxruntime.InferenceSession(*self._arguments, **self._keywords)
        self.name = self.session.get_inputs()[0].name
        return self

    def __exit__(self, *_exception: Any) -> None:
        del self.session


def session_arguments(path: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the agent makes its session with: path, session options, providers."""
    made = mock.Mock(wraps=onnxruntime.InferenceSession)
    with mock.patch.object(onnxruntime, "InferenceSession", made), open_by_agent(path):
        return made.call_args.args, made.call_args.kwargs


def open_by_agent(path: str) -> base.Model:
    return base.open_model("onnx", {"model": path}, OPTIONS)


class BareSubject(timing.Subject):
    """The loop that anybody would write."""

    def __init__(self, bare: BareSession, inputs: list[Any]) -> None:
        self._session, self._name, self._feeds, self._next = bare.session, bare.name, inputs, 0

    def sample_ns(self) -> int:
        feed = {self._name: self._feeds[self._next]}
        self._next = (self._next + 1) % len(self._feeds)
        started = time.perf_counter_ns()
        self._session.run(None, feed)
        return time.perf_counter_ns() - started


class TimedSupervisor(Supervisor):
    """Notes how long the workers took."""

    worker_s = 0.0

    def run(self, kind: str, job: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            return super().run(kind, job, deadline_s)
        finally:
            self.worker_s = time.perf_counter() - started


def main() -> None:
    """Measure both and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="4 loads and 5 requests instead of 24 and 30")
    parser.add_argument("--child", type=Path, help="an ONNX file: be the worker")
    arguments = parser.parse_args()
    loads, requests = (4, 5) if arguments.quick else (24, 30)
    if arguments.child:
        print(json.dumps(time_both(str(arguments.child), loads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(narrow_network())
        found = {
            "run": measure_runs(model, loads, arguments.quick),
            "request": measure_requests(folder, model, requests),
        }
    found["load_average"] = os.getloadavg()[1]
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def narrow_network() -> bytes:
    """Return ResNet-18 with WIDTH of its channels, as ONNX with filler weights."""
    profile, spec = load_profile("local"), seed_spec("resnet18", 10, (3, 32, 32))
    superblocks = bin_by_stage(spec)
    space = SearchSpace.uniform(spec, superblocks, (1.0, WIDTH), profile.channel_step)
    narrow = derive(space.candidate((WIDTH,) * len(superblocks)))
    return structure_onnx(narrow, spec.input_shape, opset=profile.opset, ir_version=profile.ir_version)


def measure_runs(model: Path, loads: int, quick: bool) -> dict[str, Any]:
    """Have a child time both, watched as the agent watches a worker."""
    command = [sys.executable, __file__, "--child", str(model), *(["--quick"] if quick else [])]
    with watch.Watch():
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    agent, bare = json.loads(done.stdout)
    ratio = latency_ratio(agent, bare, loads=loads)
    return {
        "model": f"resnet18 at 32 x 32 with {WIDTH:g} of its channels, filler weights, 1 thread",
        "loads": loads,
        "blocks_of_each": loads * BLOCKS,
        "agent_p50_ms": quantile_ns(agent, 0.5) / 1e6,
        "bare_p50_ms": quantile_ns(bare, 0.5) / 1e6,
        "ratio": asdict(ratio),
        "bound": LATENCY_BOUND,
        "within_bound": abs(ratio.value - 1) <= LATENCY_BOUND,
    }


def time_both(path: str, loads: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the blocks of the agent's path and of the bare loop."""
    agent_blocks: list[list[int]] = []
    bare_blocks: list[list[int]] = []
    for load in range(loads):
        agent, bare = open_by_agent(path), BareSession(path)
        first, second = (agent, bare) if load % 2 == 0 else (bare, agent)
        with first, second:
            inputs = tensors.entries(None, agent)
            subjects = timing.Subject(agent.run, inputs), BareSubject(bare, inputs)
            samples = timing.time_round(subjects[::-1], timing.PairedSchedule(BLOCKS, BLOCK_NS, WARMUP_NS))
        agent_blocks += samples.models[1].blocks_ns
        bare_blocks += samples.models[0].blocks_ns
    return agent_blocks, bare_blocks


def measure_requests(folder: str, model: Path, count: int) -> dict[str, Any]:
    """Return what requests took beside their workers, and a round trip over the pipes."""
    workdir = str(Path(folder) / "agent")
    blobs, supervisor = BlobStore(workdir), TimedSupervisor()
    blobs.open()
    session = Session(Methods(workdir, blobs, supervisor, BoardLock(), Clocks(workdir)).table())
    ask(session, wire.HELLO, protocol_version=wire.PROTOCOL_VERSION)
    content = model.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    (Path(folder) / "agent" / "incoming" / "model").write_bytes(content)
    ask(session, wire.ADMIT, upload="model", sha256=sha256, encoding=wire.RAW, size=len(content))
    plan = wire.to_wire(wire.SoloPlan(wire.ModelRef("onnx", {"model": sha256}), OPTIONS, None, 2, 60.0))
    beside_s = []
    for _ in range(count):
        started = time.perf_counter()
        ask(session, wire.MEASURE_SOLO, **plan)
        beside_s.append(time.perf_counter() - started - supervisor.worker_s)
    blobs.close()
    round_trip_s = round_trip(Path(folder) / "other", count)
    total_s = statistics.median(beside_s) + round_trip_s
    return {
        "requests": count,
        "model_bytes": len(content),
        "agent_ms": 1e3 * statistics.median(beside_s),
        "round_trip_ms": 1e3 * round_trip_s,
        "median_ms": 1e3 * total_s,
        "worst_ms": 1e3 * (max(beside_s) + round_trip_s),
        "bound_ms": 1e3 * REQUEST_BOUND_S,
        "within_bound": total_s <= REQUEST_BOUND_S,
    }


def ask(session: Session, method: str, **params: Any) -> None:
    reply = session.answer(wire.encode({"id": 1, "method": method, "params": params}))
    wire.encode(reply)
    if not reply["ok"]:
        raise SystemExit(f"{method}: {reply['error']}")


def round_trip(workdir: Path, count: int) -> float:
    """Return the median of a request that does nothing, to an agent of its own."""
    with open_device(load_profile("local"), workdir) as client:
        client.ship(b"content", pack=False)
        took = []
        for _ in range(count):
            started = time.perf_counter()
            client.ship(b"content", pack=False)
            took.append(time.perf_counter() - started)
    return float(np.median(took))


if __name__ == "__main__":
    main()
