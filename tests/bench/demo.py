"""The README's demo over three random seeds: how much faster, smaller, and at what accuracy. Runs alone on the machine.

python tests/bench/demo.py [--quick] [--append] --json docs/bench/demo.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the demo for each random seed and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="one random seed instead of three")
    parser.add_argument("--append", action="store_true", help="keep the seeds that the result has already")
    parser.add_argument("--keep", type=Path, help="where to keep the runs' folders; nowhere by default")
    arguments = parser.parse_args()
    runs = json.loads(arguments.json.read_text(encoding="utf-8"))["runs"] if arguments.append else []
    done = {run["random_seed"] for run in runs}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    for random_seed in range(1 if arguments.quick else 3):
        if random_seed not in done:
            runs.append(run_demo(random_seed, arguments.keep))
            print(json.dumps(runs[-1]), flush=True)
            # After every seed: what was interrupted goes on with --append.
            arguments.json.write_text(json.dumps(result_of(runs), indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result_of(runs).items() if name != "runs"}, indent=2))


def result_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum the runs up."""
    return {
        "machine": {"cpu_count": _cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "command": "scbp-host run --device local --random-seed N",
        "runs": runs,
        "mean_test_drop_points": statistics.mean(run["test_drop_points"] for run in runs),
        "worst_ratio_upper_bound": max(run["latency_ratio_ci95"][1] for run in runs),
        "largest_size_share": max(run["size_share"] for run in runs),
        "longest_minutes": max(run["minutes"] for run in runs),
    }


def run_demo(random_seed: int, keep: Path | None) -> dict[str, Any]:
    """Run `scbp-host run --device local` in a folder of its own and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "scbp-host"), "run", "--device", "local", "--json"]
        command += ["--random-seed", str(random_seed)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
        minutes = (time.monotonic() - started) / 60
        if keep is not None:
            shutil.copytree(Path(folder) / "runs", keep / str(random_seed), dirs_exist_ok=True)
    summary = json.loads(done.stdout)
    seed, best, model = summary["seed"], summary["best"], summary["latency_model"]
    return {
        "random_seed": random_seed,
        "minutes": round(minutes, 2),
        "best_ratios": best["ratios"],
        "latency_ratio": best["latency_ratio"],
        "latency_ratio_ci95": best["latency_ratio_ci95"],
        "seed_latency_p50_ms": seed["latency_p50_ms"],
        "size_share": best["onnx_bytes"] / seed["onnx_bytes"],
        "peak_memory_mb": [seed["peak_memory_mb"], best["peak_memory_mb"]],
        "seed_val_top1": seed["val_top1"],
        "best_val_top1": best["val_top1"],
        "seed_test_top1": seed["test_top1"],
        "best_test_top1": best["test_top1"],
        "test_drop_points": 100 * (seed["test_top1"] - best["test_top1"]),
        "latency_model": model,
        "structure_bytes": summary["structure_bytes"],
        "bytes_shipped": summary["bytes_shipped"],
        "rounds": summary["rounds"],
        "stage_seconds": summary["stage_seconds"],
    }


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
