"""Do the intervals keep their word on a real machine, whose other core is busy?

A/A: a network against itself, 300 runs of 10 seconds: the ratio's 95 % interval should contain 1 in 95 % of them.
Slower: one that does 3 % more, 100 runs that stop where the interval is 2 % wide, or after 60 seconds: it should be
seen as slower, the interval above 1, in 95 %. The network is a chain of 100 equal convolutions, the slower one has 103:
its arithmetic, its weights and its layers are exactly 3 % more.

python tests/bench/noise.py [--quick] --json docs/bench/noise.json [--seconds 110]

What is done is kept, and the result is written as it grows: run it again, in slices with `--seconds`. The machine must
be ours alone meanwhile; a busy loop, held on the last core, is the bench's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from scipy import stats
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_agent import wire
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.outcome import Failure
from scbp_host.measuring.paired import interval_of_loads, load_logs
from scbp_host.measuring.rounds import RoundBench
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stability import waited_share
from scbp_host.measuring.stopping import LEAST_LOADS
from scbp_host.profiles import load_profile
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.store import Store

LAYERS, MORE_LAYERS = 100, 103
CHANNELS, PIXELS = 16, 16


@dataclass(frozen=True)
class Experiment:
    """One kind of run.

    Attributes:
        layers: of the network that is measured against one of LAYERS.
        runs: how many.
        settings: how each is measured.
    """

    layers: int
    runs: int
    settings: MeasureSettings


def experiments(*, quick: bool) -> dict[str, Experiment]:
    """Return both by name."""
    return {
        "a_a": Experiment(LAYERS, 3 if quick else 300, MeasureSettings(max_seconds=10.0)),
        "slower": Experiment(MORE_LAYERS, 2 if quick else 100, MeasureSettings(ci_width=0.02, max_seconds=60.0)),
    }


def chain(layers: int) -> bytes:
    """Return equal convolutions in a row; each hands on what it gets, so that no number grows or vanishes."""
    kernel = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    kernel[np.arange(CHANNELS), np.arange(CHANNELS), 1, 1] = 1.0
    nodes, weights = [], []
    for layer in range(layers):
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [f"x{layer}", f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"]))
    shape = [1, CHANNELS, PIXELS, PIXELS]
    ends = [helper.make_tensor_value_info(f"x{own}", onnx.TensorProto.FLOAT, shape) for own in (0, layers)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


class Noise:
    """Makes the runs of one experiment.

    Args:
        client: a connected device.
        experiment: which.
    """

    def __init__(self, client: DeviceClient, experiment: Experiment) -> None:
        self._bench = RoundBench(client, experiment.settings)
        self._models = [
            wire.RoundModel(_shipped(client, chain(layers)), client.options) for layers in (LAYERS, experiment.layers)
        ]

    def run(self) -> Payload | Failure:
        """Measure once; returns what the interval came to, and the logarithm of each load's ratio."""
        pooled = self._bench.run(self._models, None)
        if isinstance(pooled, Failure):
            return pooled
        (ratio,), (reference, own) = pooled.ratios, pooled.result.models
        logs = load_logs(own.blocks_ns, reference.blocks_ns, len(pooled.result.loads))
        return {
            "ratio": [ratio.value, ratio.low, ratio.high],
            "logs": [round(log, 5) for log in logs.tolist()],
            "p50_ms": float(np.median(np.concatenate(reference.blocks_ns))) / 1e6,
            "waited_share": waited_share(pooled.result.loads),
            **pooled.sampling.to_json(),
        }


def _shipped(client: DeviceClient, model: bytes) -> wire.ModelRef:
    sha256 = client.ship(model, pack=True)
    if isinstance(sha256, Failure):
        raise SystemExit(sha256.message)
    return wire.ModelRef("onnx", {"model": sha256})


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep the last core busy with an endless loop."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(loop.pid, {max(os.sched_getaffinity(0))})
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def verdict(rows: Sequence[Mapping[str, Any]], hits: Sequence[bool]) -> dict[str, Any]:
    """Return in how many of the runs it was so, and the rate's own 95 % interval (Clopper and Pearson, 1934)."""
    rate = stats.binomtest(sum(hits), len(hits)).proportion_ci()
    widths = [row["ratio"][2] / row["ratio"][0] - row["ratio"][1] / row["ratio"][0] for row in rows]
    return {
        "runs": len(rows),
        "hits": sum(hits),
        "rate": sum(hits) / len(hits),
        "rate_ci95": [rate.low, rate.high],
        "median_ratio": float(np.median([row["ratio"][0] for row in rows])),
        "median_width": float(np.median(widths)),
        "median_loads": float(np.median([row["loads"] for row in rows])),
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
        "stopped": {own: sum(row["stopped"] == own for row in rows) for own in ("ci_width", "budget")},
        "batches_discarded": sum(row["discarded"] for row in rows),
        "median_waited_share": float(np.median([row["waited_share"] for row in rows])),
        "median_p50_ms": float(np.median([row["p50_ms"] for row in rows])),
    }


def replayed(rows: Sequence[Mapping[str, Any]], batch: int, width: float) -> dict[str, Any]:
    """Return what the same runs would have said, had they stopped where the interval is narrower than ``width``."""
    covered, loads = [], []
    for row in rows:
        logs = np.asarray(row["logs"])
        count = next(
            own
            for own in range(min(LEAST_LOADS, len(logs)), len(logs) + batch, batch)
            if own >= len(logs) or interval_of_loads(logs[:own]).relative_width < width
        )
        ratio = interval_of_loads(logs[:count])
        covered.append(ratio.low <= 1.0 <= ratio.high)
        loads.append(min(count, len(logs)))
    return {"width": width, "covered": float(np.mean(covered)), "median_loads": float(np.median(loads))}


def summarise(name: str, experiment: Experiment, ledger: Ledger) -> dict[str, Any]:
    """Return the result of the runs made so far."""
    rows = list(ledger.payloads(name).values())
    if not rows:
        return {"runs": 0}
    if name == "slower":
        return verdict(rows, [row["ratio"][1] > 1.0 for row in rows])
    found = verdict(rows, [row["ratio"][1] <= 1.0 <= row["ratio"][2] for row in rows])
    return {**found, "stopping": [replayed(rows, experiment.settings.loads, own) for own in (0.01, 0.02, 0.04)]}


def main() -> None:
    """Go on as far as this slice goes, both experiments in turn, and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, ".bench/noise")
    arguments = parser.parse_args()
    wanted, own_slice = experiments(quick=arguments.quick), Slice.of(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    with Store.open(arguments.work / "bench.sqlite") as store:
        ledger = open_ledger(store, "noise", json.loads(json.dumps({own: asdict(wanted[own]) for own in wanted})))
        try:
            go_on(ledger, wanted, arguments.work / "agent", own_slice)
        except SliceOver as over:
            print(over, flush=True)
        result = {name: summarise(name, own, ledger) for name, own in wanted.items()}
    result["machine"] = machine(layers=LAYERS, more_layers=MORE_LAYERS, channels=CHANNELS, pixels=PIXELS)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def go_on(ledger: Ledger, wanted: Mapping[str, Experiment], workdir: Path, own_slice: Slice) -> None:
    """Make the runs that are missing, three of A/A to one of the other; raises SliceOver."""
    turns = sorted(
        ((number + 1) / own.runs, name, number) for name, own in wanted.items() for number in range(own.runs)
    )
    with open_device(load_profile("local"), workdir) as client, busy_core():
        benches = {name: Noise(client, own) for name, own in wanted.items()}
        for _share, name, number in turns:
            if str(number) not in ledger.subjects(name):
                own_slice.begin("measure")
                ledger.must(name, str(number), benches[name].run)


if __name__ == "__main__":
    main()
