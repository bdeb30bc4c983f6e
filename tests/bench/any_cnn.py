"""Derive every convolutional family of torchvision, and a network of one's own, and check what comes out.

python tests/bench/any_cnn.py [--quick] [--only NAME ...] --json docs/bench/any_cnn.json

Three random points of each seed's space: widths, exact slices, export, parity, parameters and multiply-accumulates
counted twice, and the way back from disk (`cnn_checks.py`). Also writes the table in docs/models.md. `--quick` takes
one point of each on small images, and writes no page.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cnn_checks

from scbp_host.space.seeds import seed_spec

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
START, END = "<!-- any_cnn: start -->", "<!-- any_cnn: end -->"
POINTS = 3
NUM_CLASSES = 10


@dataclass(frozen=True)
class Family:
    """One seed that stands for its family.

    Attributes:
        factory: the seed.
        title: what the family is called.
        side: height and width of the images it is meant for.
        quick_side: the smallest ones that are worth a check.
    """

    factory: str
    title: str
    side: int = 224
    quick_side: int = 64


FAMILIES = (
    Family("alexnet", "AlexNet", quick_side=224),
    Family("vgg11", "VGG", quick_side=224),
    Family("vgg11_bn", "VGG with BatchNorm", quick_side=224),
    Family("resnet18", "ResNet, basic blocks", quick_side=32),
    Family("resnet50", "ResNet, bottlenecks", quick_side=32),
    Family("resnext50_32x4d", "ResNeXt", quick_side=32),
    Family("wide_resnet50_2", "Wide ResNet", quick_side=32),
    Family("squeezenet1_1", "SqueezeNet"),
    Family("densenet121", "DenseNet", quick_side=32),
    Family("googlenet", "GoogLeNet", quick_side=32),
    Family("inception_v3", "Inception v3", side=299, quick_side=75),
    Family("mobilenet_v2", "MobileNet v2", quick_side=32),
    Family("mobilenet_v3_small", "MobileNet v3 small"),
    Family("mobilenet_v3_large", "MobileNet v3 large"),
    Family("mnasnet1_0", "MNASNet", quick_side=32),
    Family("efficientnet_b0", "EfficientNet", quick_side=32),
    Family("efficientnet_v2_s", "EfficientNet v2", quick_side=32),
    Family("regnet_x_400mf", "RegNet X", quick_side=32),
    Family("regnet_y_400mf", "RegNet Y", quick_side=32),
    Family("convnext_tiny", "ConvNeXt", quick_side=32),
    Family("shufflenet_v2_x1_0", "ShuffleNet v2"),
    Family("lraspp_mobilenet_v3_large", "LR-ASPP, segmentation"),
    Family("fcn_resnet50", "FCN, segmentation", quick_side=32),
    Family("ssdlite320_mobilenet_v3_large", "SSDlite, detection", side=320),
    Family("own_cnn:factory", "a factory of one's own"),
)


def check_family(family: Family, quick: bool = False) -> dict[str, Any]:
    """Check one family; an AssertionError says what does not hold."""
    started = time.perf_counter()
    side = family.quick_side if quick else family.side
    spec = seed_spec(family.factory, NUM_CLASSES, (3, side, side))
    space, source = cnn_checks.space_of(spec), cnn_checks.restless(spec, random_seed=1)
    chosen = cnn_checks.points(space, 1 if quick else POINTS, random_seed=0)
    found = [cnn_checks.check_point(space, source, candidate) for candidate in chosen]
    return {
        "factory": family.factory,
        "title": family.title,
        "input_shape": list(spec.input_shape),
        "groups": sum(len(block.groups) for block in space.superblocks),
        "superblocks": len(space.superblocks),
        "seed_params": sum(parameter.numel() for parameter in source.parameters()),
        "points": found,
        "seconds": round(time.perf_counter() - started, 1),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the table of docs/models.md."""
    lines = [
        "| family | seed | image | superblocks | widths | parameters kept | masked seed | parity |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for own in results:
        kept = sorted(point["params"] / own["seed_params"] for point in own["points"])
        worst = {key: max(point[key] for point in own["points"]) for key in ("masked_difference", "parity")}
        lines.append(
            f"| {own['title']} | `{own['factory']}` | {own['input_shape'][1]} "
            f"| {own['superblocks']} | {own['groups']} | "
            f"{kept[0]:.0%} to {kept[-1]:.0%} | {worst['masked_difference']:.0e} | {worst['parity']:.0e} |"
        )
    return "\n".join(lines)


def page_with(results: list[dict[str, Any]], page: str) -> str:
    """Return the page with its table replaced."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{table(results)}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Check the families asked for, and write what came out after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the results; others in it stay")
    parser.add_argument("--quick", action="store_true", help="one point of each family, on small images")
    parser.add_argument("--only", nargs="*", help="these seeds only")
    arguments = parser.parse_args()
    known = {own["factory"]: own for own in _read(arguments.json)}
    for family in FAMILIES:
        if arguments.only is None or family.factory in arguments.only:
            known[family.factory] = result = check_family(family, arguments.quick)
            print(f"{family.factory}: {len(result['points'])} points in {result['seconds']} s", flush=True)
            ordered = [known[own.factory] for own in FAMILIES if own.factory in known]
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    if not arguments.quick and len(known) == len(FAMILIES):
        PAGE.write_text(page_with(_read(arguments.json), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


if __name__ == "__main__":
    main()
