"""Is a paired ratio the same in another session? Models in separate agent sessions beside two references, alone.

A run pairs every model with a network from the middle of the space. Here the seed takes that place too, in the same
sessions, for comparison.

python tests/bench/repeatability.py [--quick] --json docs/bench/repeatability.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from scbp_host.device.client import open_device
from scbp_host.domain.measurement import Interval
from scbp_host.domain.outcome import Failure
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.measuring.stability import uncertain
from scbp_host.profiles import load_profile
from scbp_host.space.derive import derive
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.repeats import PASSES
from scbp_host.stages.space import reference_candidate, seed_candidate
from scbp_host.tasks.datasets import load_task

RATIOS = (
    (1.0, 1.0, 1.0, 1.0),
    (0.5, 0.75, 0.5, 1.0),
    (1.0, 1.0, 0.5, 0.25),
    (0.75, 0.5, 0.75, 0.5),
    (0.5, 0.5, 0.5, 0.5),
    (0.25, 0.5, 0.25, 0.25),
    (0.25, 0.25, 0.25, 0.25),
)
TOLERANCE = 0.03


def main() -> None:
    """Measure each structure in several sessions and write how far the ratios are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="3 sessions instead of 10")
    arguments = parser.parse_args()
    profile = load_profile("local")
    spec = seed_spec("resnet18", 10, (3, 32, 32))
    space = SearchSpace.uniform(spec, bin_by_stage(spec), (1.0, 0.75, 0.5, 0.25), profile.channel_step)
    versions = {"opset": profile.opset, "ir_version": profile.ir_version}

    def structure(candidate: object) -> bytes:
        return structure_onnx(derive(candidate), spec.input_shape, **versions)

    models = {"/".join(f"{ratio:g}" for ratio in ratios): structure(space.candidate(ratios)) for ratios in RATIOS}
    references = {
        "middle of the space": structure(reference_candidate(space)),
        "seed": structure(seed_candidate(space)),
    }
    ratios: dict[str, dict[str, list[float]]] = {own: {name: [] for name in models} for own in references}
    for _ in range(3 if arguments.quick else 10):
        for own, reference in references.items():
            for name, ratio in measure_all(reference, models).items():
                ratios[own][name].append(ratio)
    result = {own: {name: spread(each) for name, each in rows.items()} for own, rows in ratios.items()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for own, rows in result.items():
        for name, figures in rows.items():
            print(
                f"beside the {own}, {name}: median {figures['median']:.4f}, worst pair of sessions "
                f"{figures['worst_pair']:.1%} apart, {figures['pairs_within_3_percent']:.0%} of pairs within 3 %"
            )


def measure_all(reference: bytes, models: dict[str, bytes]) -> dict[str, float]:
    """Open a session of its own (another agent process, other workers), and repeat what is uncertain as a run does."""
    profile = load_profile("local")
    images = load_task("digits", (3, 32, 32)).validation.images[:16]
    with tempfile.TemporaryDirectory() as folder, open_device(profile, folder) as client:
        session = MeasuringSession(client, MeasureSettings(), client.options, reference, images, pack_reference=True)
        surest: dict[str, Interval] = {}
        names = list(models)
        for _ in range(1 + PASSES):
            for name in names:
                outcome = session.measure(models[name], pack=True)
                if isinstance(outcome, Failure):
                    raise SystemExit(f"{name}: {outcome.kind}: {outcome.message}")
                known = surest.get(name, outcome.ratio)
                surest[name] = min(known, outcome.ratio, key=lambda own: own.relative_half_width)
            names = uncertain(surest)
    return {name: ratio.value for name, ratio in surest.items()}


def spread(ratios: list[float]) -> dict[str, object]:
    """Compare every two sessions."""
    apart = [abs(first / second - 1) for index, first in enumerate(ratios) for second in ratios[index + 1 :]]
    return {
        "ratios": ratios,
        "median": statistics.median(ratios),
        "worst_pair": max(apart),
        "pairs_within_3_percent": sum(own <= TOLERANCE for own in apart) / len(apart),
    }


if __name__ == "__main__":
    main()
