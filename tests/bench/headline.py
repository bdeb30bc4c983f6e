"""The paper's headline on this machine: how accurate is half the size and 20 % faster, how small is within a point.

python tests/bench/headline.py [--quick] [--data digits] --json docs/bench/headline.json

Each network gets one run of the product, with the hours that it took. The paper speaks of less than 10^1 GPU hours.
Run again, it goes on; --only and --seconds cut it into slices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from slices import Slice, SliceOver, Work, add_common_arguments, machine

from scbp_host.config import DEFAULT_ROUNDS, RunConfig
from scbp_host.device.client import DeviceClient
from scbp_host.events import ignore
from scbp_host.pipeline import STORE_FILE, SUMMARY_FILE, run
from scbp_host.space.derive import rebuild
from scbp_host.stages.artifacts import Artifacts
from scbp_host.store import RunStatus, Store
from scbp_host.tasks.datasets import load_task
from scbp_host.training.inference import evaluate
from scbp_host.training.loop import Loop

FASTER, SMALLER, WITHIN_POINTS = 0.2, 0.5, 1.0
INPUT_SHAPE = (3, 32, 32)
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What one network's run takes: what any run takes, where nothing is said."""

    measure: int = RunConfig().measure
    train: int = RunConfig().train
    rounds: int = DEFAULT_ROUNDS
    seed_epochs: int | None = None
    epochs: int | None = None


QUICK = Sizes(measure=4, train=1, rounds=1, seed_epochs=1, epochs=1)


def main() -> None:
    """Run what has not been run, as far as this slice goes, and write what is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="what the networks are for")
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet34", "resnet50"], help="which networks")
    add_common_arguments(parser, ".bench/headline")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    rows = []
    with begun_only(Slice.of(arguments)):
        for model in arguments.models:
            config = RunConfig(
                model=model, data=arguments.data, input_shape=INPUT_SHAPE, out=arguments.work / model, **asdict(sizes)
            )
            try:
                rows.append(headline(finished(config), arguments.data))
                print(table(rows[-1:]), flush=True)
            except SliceOver as over:
                print(f"{model}: {over}", flush=True)
    aims = {"faster": FASTER, "smaller": SMALLER, "within_points": WITHIN_POINTS, "paper_gpu_hours": 10}
    facts = machine(device="local")
    del facts["training_threads"]  # this process's, where a run may have been another's
    result = {"machine": facts, "data": arguments.data, "sizes": asdict(sizes), "aims": aims}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result | {"models": rows}, indent=2) + "\n", encoding="utf-8")


@contextmanager
def begun_only(own_slice: Slice) -> Iterator[None]:
    """Ask the slice before every training and every measurement; what it refuses, the run does when it is resumed."""

    def asking(work: Work, call: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*given: Any, **named: Any) -> Any:
            own_slice.begin(work)
            return call(*given, **named)

        return ask

    with (
        patch.object(DeviceClient, "measure_paired", asking("measure", DeviceClient.measure_paired)),
        patch.object(Loop, "run", asking("train", Loop.run)),
    ):
        yield


def finished(config: RunConfig) -> Path:
    """Return the folder of the finished run of this configuration, begun or gone on with where it is needed."""
    with Store.open(config.out / STORE_FILE) as store:
        known = [own for own in store.runs() if config.agrees_with(own.config["config"])]
    done = [own for own in known if own.status is RunStatus.FINISHED]
    return config.out / done[0].id if done else run(config, ignore, resume=bool(known)).folder


def headline(folder: Path, data: str) -> Row:
    """Choose on validation, and report on the test split."""
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    seed, seconds = summary["seed"], summary["stage_seconds"]
    trained = [own for own in summary["candidates"] if own["status"] == "trained"]
    most_accurate = max(
        (own for own in trained if _is_lean(own, seed)),
        key=lambda own: (own["val_top1"], -own["latency_ratio"]),
        default=None,
    )
    smallest = min(
        (own for own in trained if own["val_top1"] >= seed["val_top1"] - WITHIN_POINTS / 100),
        key=lambda own: own["onnx_bytes"],
        default=None,
    )
    return {
        "model": summary["model"]["factory"],
        "seed": _figures(seed, seed, folder, data),
        "most_accurate_20_faster_50_smaller": most_accurate and _figures(most_accurate, seed, folder, data),
        "smallest_within_1_point": smallest and _figures(smallest, seed, folder, data),
        "trained": len(trained),
        "space_size": summary["space_size"],
        "training_hours": (seconds["seed"] + seconds["train"]) / 3600,
        "all_hours": sum(seconds.values()) / 3600,
    }


def table(rows: list[Row]) -> str:
    """Return the rows as a table of docs/results.md."""
    lines = [["network", "which", "faster (at least, 95 %)", "size", "test top-1", "the seed's", "hours"], ["---"] * 7]
    for row in rows:
        for which in ("most_accurate_20_faster_50_smaller", "smallest_within_1_point"):
            if own := row[which]:
                faster = f"{1 / own['latency_ratio']:.1f}x ({1 / own['latency_ratio_ci95'][1]:.1f}x)"
                tops = [f"{100 * each['test_top1']:.1f} %" for each in (own, row["seed"])]
                size, hours = f"{100 * own['size_share']:.0f} %", f"{row['all_hours']:.2f}"
                lines.append([row["model"], which.replace("_", " "), faster, size, *tops, hours])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _is_lean(own: Row, seed: Row) -> bool:
    """Tell whether it is surely fast enough, and small enough."""
    return own["latency_ratio_ci95"][1] <= 1 - FASTER and own["onnx_bytes"] <= (1 - SMALLER) * seed["onnx_bytes"]


def _figures(own: Row, seed: Row, folder: Path, data: str) -> Row:
    files = Artifacts(folder).of(own["id"])
    module = rebuild(files / "candidate.json", files / "weights.safetensors")
    test_top1 = evaluate(module, load_task(data, INPUT_SHAPE).test())
    return {
        **{name: own[name] for name in ("id", "ratios", "params", "latency_ratio", "latency_ratio_ci95", "val_top1")},
        "size_share": own["onnx_bytes"] / seed["onnx_bytes"],
        "test_top1": test_top1,
        "peak_memory_mb": own["peak_memory_mb"],
        "latency_p50_ms": own["latency_p50_ms"],
    }


if __name__ == "__main__":
    main()
