"""The latency model's leave-one-out quality over the structures of stored runs; needs the stores alone.

python tests/bench/latency_model.py STORE [STORE ...] --json docs/bench/latency_model.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scbp_host.latency.additive import AdditiveModel, size_features
from scbp_host.latency.models import best_model
from scbp_host.search.one_shot import relative_widths
from scbp_host.stages.standing import Standing
from scbp_host.store import Store


def main() -> None:
    """Fit the model to every run of every store, and to the paired ratios as they are for comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+", help="scbp.sqlite files")
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    arguments = parser.parse_args()
    results = []
    for path in arguments.stores:
        with Store.open(path, create=False) as store:
            results += [judge(store, run.id) for run in store.runs()]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for result in results:
        print(json.dumps(result))


def judge(store: Store, run_id: str) -> dict[str, Any]:
    """Return the quality over everything that one run measured."""
    outcomes = store.outcomes(run_id)
    space = next(own.payload for own in outcomes if own.stage == "space" and own.payload)
    superblocks = [{group["name"]: group["channels"] for group in block["groups"]} for block in space["superblocks"]]
    standing = Standing.of(outcomes)
    known = [own for own in standing.candidates if own.measurement]
    seen = [standing.observation(own) for own in known]
    widths = relative_widths([own.candidate for own in known], superblocks)
    sizes = np.asarray([own.onnx_bytes for own in seen], dtype=np.float64)
    ratios = np.asarray([own.latency_ratio.value for own in seen if own.latency_ratio])
    floors = np.asarray([own.floor_ratio for own in seen], dtype=np.float64)
    features = size_features(AdditiveModel().fit(widths, sizes), float(sizes.max()))
    model = best_model(widths, floors, features=features)
    plain = best_model(widths, ratios, features=features)
    return {
        "random_seed": store.run(run_id).config["config"]["random_seed"],
        "model": asdict(model.leave_one_out()),
        "on_paired_p50_ratios_as_they_are": asdict(plain.leave_one_out()),
    }


if __name__ == "__main__":
    main()
