"""Is a paired ratio the same in another session? One pair of models, measured in separate agent sessions, alone.

python tests/bench/repeatability.py [--quick] --json docs/bench/repeatability.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from scbp_host.device.client import open_device
from scbp_host.domain.outcome import Failure
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.session import MeasureSettings, MeasuringSession
from scbp_host.profiles import load_profile
from scbp_host.space.derive import derive
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.tasks.datasets import load_task

RATIOS = {"seed": (1.0, 1.0, 1.0, 1.0), "half": (0.5, 0.5, 0.5, 0.5), "late": (1.0, 1.0, 0.5, 0.25)}
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
    models = {
        name: structure_onnx(derive(space.candidate(ratios)), spec.input_shape, **versions)
        for name, ratios in RATIOS.items()
    }
    sessions = [measure_all(models) for _ in range(3 if arguments.quick else 10)]
    result = {name: spread([session[name] for session in sessions]) for name in models}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, own in result.items():
        print(
            f"{name}: median {own['median']:.4f}, worst pair of sessions {own['worst_pair']:.2%} apart, "
            f"{own['pairs_within_3_percent']:.0%} of pairs within 3 %"
        )


def measure_all(models: dict[str, bytes]) -> dict[str, float]:
    """Open a session of its own: another agent process, other workers."""
    profile = load_profile("local")
    images = load_task("digits", (3, 32, 32)).validation.images[:16]
    with tempfile.TemporaryDirectory() as folder, open_device(profile, folder) as client:
        session = MeasuringSession(
            client, MeasureSettings(), profile.runtime, profile.threads, models["seed"], images, 0, pack_reference=True
        )
        ratios = {}
        for name, model in models.items():
            outcome = session.measure(model, pack=True)
            if isinstance(outcome, Failure):
                raise SystemExit(f"{name}: {outcome.kind}: {outcome.message}")
            ratios[name] = outcome.ratio.value
    return ratios


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
