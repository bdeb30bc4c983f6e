"""Convert one network of each torchvision family for ncnn, and compare what ncnn computes with ONNX Runtime.

python tests/bench/ncnn_families.py [--quick] [--only FACTORY ...] --json docs/bench/ncnn_families.json

On this machine's ncnn, in float32, on one random image. `--quick` takes three families; with `--only` what the file has
of the others stays. Prints a line for each.
"""

from __future__ import annotations

import argparse
import json
import lzma
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from scbp_agent import wire
from scbp_agent.runtimes import base
from scbp_host.domain.device_model import DeviceModel
from scbp_host.export.formats import converter_for
from scbp_host.export.onnx import export_onnx
from scbp_host.export.structure import without_weights
from scbp_host.space.seeds import build_seed, seed_spec

# Factory -> the smallest side of an image that is worth a check.
FAMILIES = {
    "squeezenet1_1": 64,
    "mobilenet_v2": 64,
    "shufflenet_v2_x0_5": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 75,
    "mobilenet_v3_small": 64,
    "mnasnet0_5": 64,
    "efficientnet_b0": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    # Their poolings take the sizes of large images alone.
    "alexnet": 224,
    "vgg11_bn": 224,
}
QUICK = 3
NUM_CLASSES = 10


def check(factory: str, side: int) -> dict[str, Any]:
    shape = (3, side, side)
    module = build_seed(seed_spec(factory, NUM_CLASSES, shape), random_seed=0).eval()
    content = export_onnx(module, shape, opset=13, ir_version=7)
    converted = converter_for("ncnn")(content)
    facts: dict[str, Any] = {"factory": factory, "side": side}
    if not isinstance(converted, DeviceModel):
        return {**facts, "failure": converted.message}
    structure = converter_for("ncnn")(without_weights(content))
    assert isinstance(structure, DeviceModel)
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content).run(None, {"input": image})
    difference = np.abs(run(converted, image) - expected).max() / np.abs(expected).max()
    packed = sum(len(lzma.compress(own, preset=0)) for own in structure.files.values())
    return {**facts, "relative_difference": float(difference), "structure_wire_bytes": packed}


def run(model: DeviceModel, image: np.ndarray) -> np.ndarray:
    """Run one image with the agent's own runtime."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {role: str(Path(folder) / role) for role in model.files}
        for role, content in model.files.items():
            Path(paths[role]).write_bytes(content)
        with base.open_model(model.format, paths, wire.RuntimeOptions("ncnn", 1, {})) as loaded:
            return np.asarray(loaded.run(image)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=FAMILIES, help="these alone; others in the file stay")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = arguments.only or list(FAMILIES)[: QUICK if arguments.quick else None]
    known = json.loads(arguments.json.read_text(encoding="utf-8"))["families"] if arguments.only else []
    rows = {own["factory"]: own for own in known}
    for factory in chosen:
        rows[factory] = check(factory, FAMILIES[factory])
        print(json.dumps(rows[factory]), flush=True)
        ordered = [rows[own] for own in FAMILIES if own in rows]
        result = {"ncnn": version("ncnn"), "pnnx": version("pnnx"), "families": ordered}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
