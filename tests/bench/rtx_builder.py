"""Build every network with TensorRT-RTX's real builder, which needs no GPU: which does it reject?

python tests/bench/rtx_builder.py [--quick] [--limit-s SECONDS] --json docs/bench/rtx_builder.json

All uniform structures of the ResNet-18 demo and the spread of 32 that it measures, and one structure of each family of
torchvision, in float32, float16 and int8, for five generations of GPUs. Results that the file already has stay: a bench
that was stopped, or came to its limit, goes on where it was. Exit code 1 says that something was rejected.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import any_cnn
import cnn_checks
import rtx_networks
from rtx import rtx_bindings

from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.space.seeds import build_seed, seed_spec
from scbp_host.space.slices import Carver

NUM_CLASSES = 10


def demo() -> Iterator[tuple[str, SeedSpec, Candidate, Carver]]:
    """Yield the demo's networks."""
    spec = seed_spec("resnet18", NUM_CLASSES, (3, 32, 32))
    carver = Carver(build_seed(spec, random_seed=0), spec, {})
    for name, candidate in rtx_networks.demo_candidates(spec).items():
        yield f"resnet18 {name}", spec, candidate, carver


def families(known: set[str]) -> Iterator[tuple[str, SeedSpec, Candidate, Carver]]:
    """Yield one network of each family, but for those that are known: a seed takes long to follow."""
    # Small images first: those that need large ones are large networks too.
    for family in sorted(any_cnn.FAMILIES, key=lambda own: own.quick_side):
        spec = seed_spec(family.factory, NUM_CLASSES, (3, family.quick_side, family.quick_side))
        if f"{family.factory} at random" in known:
            continue
        candidate = cnn_checks.points(rtx_networks.space_of(spec), 1, random_seed=0)[0]
        yield f"{family.factory} at random", spec, candidate, Carver(build_seed(spec, random_seed=0), spec, {})


def check(trt: ModuleType, spec: SeedSpec, candidate: Candidate, carver: Carver) -> dict[str, Any]:
    """Build one structure in every precision for every generation."""
    started = time.perf_counter()
    found: dict[str, Any] = {"input_shape": list(spec.input_shape), "ratios": list(candidate.ratios), "rejected": {}}
    for precision, written in rtx_networks.files_of(spec, candidate, trt.__version__, carver).items():
        for generation, said in rtx_networks.rejections(trt, written).items():
            found["rejected"][f"{precision} {generation}"] = said
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Build what is not in the file yet, and write it after each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the results; those in it stay")
    parser.add_argument("--quick", action="store_true", help="the demo's uniform networks only")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin no network after so many seconds")
    arguments = parser.parse_args()
    trt, started = rtx_bindings(), time.monotonic()
    known = json.loads(arguments.json.read_text(encoding="utf-8"))["networks"] if arguments.json.exists() else {}
    uniform, spread = (own := list(demo()))[: len(rtx_networks.RATIOS)], own[len(rtx_networks.RATIOS) :]
    for position, (name, *network) in enumerate(chain(uniform, families(set(known)), spread)):
        if arguments.quick and position >= len(rtx_networks.RATIOS):
            break
        if name in known:
            continue
        if time.monotonic() - started > arguments.limit_s:
            print("more is left: run it again", flush=True)
            break
        known[name] = check(trt, *network)
        print(f"{name}: {len(known[name]['rejected'])} rejected in {known[name]['seconds']} s", flush=True)
        _write(arguments.json, trt, known)
    sys.exit(any(own["rejected"] for own in known.values()))


def _write(path: Path, trt: ModuleType, known: dict[str, Any]) -> None:
    record = {
        "builder": f"TensorRT-RTX {trt.__version__}",
        "generations": list(rtx_networks.GENERATIONS),
        "precisions": list(rtx_networks.PRECISIONS),
        "built": sum(
            len(rtx_networks.GENERATIONS) * len(rtx_networks.PRECISIONS) - len(own["rejected"])
            for own in known.values()
        ),
        "rejected": sum(len(own["rejected"]) for own in known.values()),
        "networks": known,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
