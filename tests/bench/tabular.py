"""A table of a whole space: each of 256 networks measured three times beside one reference, and trained twice.

python tests/bench/tabular.py --table tests/data/tabular/cpu1-fp32-64.json --json docs/bench/tabular.json

The networks are a small ResNet's four superblocks at four ratios each. Latency is measured in passes over the whole
space, each in an order of its own: how far the second is from the first is what no predictor can be better than.
`--layers` profiles the layers of what is measured. `--prepare` writes all structures and ends: then measuring, which
needs a core to itself, does nothing else. Trainings are one epoch from inherited weights, on images of 32 px, and
`refit_top1` is the accuracy they start from; latency is measured at the device's input size. `--device` names what is
measured on: threads, precision (the reference's as well) and input size of this machine's ONNX Runtime; accuracies
belong to the first. What is done is kept, and the table is written as it grows: run it again, in slices with `--only`
and `--seconds`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from latency_tables import noise
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger
from tabular_devices import (
    CHANNEL_STEP,
    CLASSES,
    DEVICES,
    MODEL,
    SETTINGS,
    Device,
    Latencies,
    Profiles,
    Structures,
    everyone,
    name_of,
    rounded,
    space_of,
)

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.space.figures import structure_figures
from scbp_host.space.seeds import Module, build_seed, seed_spec
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.recipes import candidate_recipe, seed_recipe
from scbp_host.stages.space import seed_candidate
from scbp_host.store import Store
from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training.distillation import RememberingTeacher
from scbp_host.training.inference import evaluate
from scbp_host.training.trainer import train

DATA = "textures"
TRAINING_SHAPE = (3, 32, 32)
# Two tell how well one repeats; the median of three is what a network's latency is taken for.
PASSES = 3
# Name of what is trained in the store.
TRAININGS = "trainings"


@dataclass(frozen=True)
class Sizes:
    """What the table takes."""

    ratios: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    training_seeds: tuple[int, ...] = (0, 1)
    seed_epochs: int = 12
    epochs: int = 1


QUICK = Sizes(ratios=(1.0, 0.25), training_seeds=(0,), seed_epochs=1)


class Trainings:
    """Trains every network of the space.

    Args:
        ledger: keeps what is trained.
        sizes: of the space and of the trainings.
        folder: for the seeds.
        own_slice: says whether there is time.
    """

    def __init__(self, ledger: Ledger, sizes: Sizes, folder: Path, own_slice: Slice) -> None:
        self._ledger, self._sizes, self._folder, self._slice = ledger, sizes, folder, own_slice
        self._space = space_of(sizes.ratios, TRAINING_SHAPE[1])

    def go_on(self) -> None:
        """Train and estimate what is missing, seed by seed; raises SliceOver."""
        for random_seed in self._sizes.training_seeds:
            own = _OneSeed(self, random_seed)
            for candidate in self._space.derived():
                self._ledger.must("train", f"{name_of(candidate)}/{random_seed}", partial(own.trained, candidate))
            for candidate in everyone(self._space):
                self._ledger.must("estimate", f"{name_of(candidate)}/{random_seed}", partial(own.estimated, candidate))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the accuracies known by now, by name."""
        known = {**self._ledger.payloads("train"), **self._ledger.payloads("seed")}
        estimated = self._ledger.payloads("estimate")
        names = (name_of(own) for own in everyone(self._space))
        return {name: row for name in names if (row := self._row(known, estimated, name))}

    def _row(self, known: Mapping[str, Payload], estimated: Mapping[str, Payload], name: str) -> dict[str, Any]:
        found, guesses = self._of_seeds(known, name), self._of_seeds(estimated, name)
        if not found:
            return {}
        val, test = ([own[key] for own in found] for key in ("val_top1", "test_top1"))
        row = {"top1": round(statistics.mean(test), 5), "val_top1": rounded(val), "test_top1": rounded(test)}
        return {**row, "refit_top1": rounded(own["val_top1"] for own in guesses)} if guesses else row

    def _of_seeds(self, payloads: Mapping[str, Payload], name: str) -> list[Payload]:
        return [own for seed in self._sizes.training_seeds if (own := payloads.get(f"{name}/{seed}"))]

    # What one seed's trainings share is made when it is needed: often nothing is left to train.

    @cached_property
    def task(self) -> Task:
        """The data."""
        return load_task(DATA, TRAINING_SHAPE)

    def config(self, random_seed: int) -> RunConfig:
        """Return what a run would be asked for."""
        return RunConfig(
            data=DATA,
            input_shape=TRAINING_SHAPE,
            seed_epochs=self._sizes.seed_epochs,
            epochs=self._sizes.epochs,
            random_seed=random_seed,
        )

    def begin(self) -> None:
        """Go on, or raise SliceOver."""
        self._slice.begin("train")

    def trained_seed(self, random_seed: int) -> Module:
        """Return the trained whole network of one random seed."""
        candidate, artifacts = seed_candidate(self._space), Artifacts(self._folder / str(random_seed))

        def compute() -> Payload | Failure:
            self.begin()
            module = build_seed(candidate.seed, random_seed)
            result = train(module, self.task, seed_recipe(self.config(random_seed)), random_seed)
            if isinstance(result, Failure):
                return result
            figures = {"val_top1": result.val_top1, "test_top1": evaluate(module, self.task.held_out)}
            return {**figures, "seconds": result.seconds, "weights_sha256": artifacts.save_module(candidate, module)}

        payload = self._ledger.must("seed", f"{name_of(candidate)}/{random_seed}", compute)
        return artifacts.load_module(candidate.structure_id, payload["weights_sha256"])


class _OneSeed:
    """The trainings of one random seed."""

    def __init__(self, trainings: Trainings, random_seed: int) -> None:
        self._trainings, self._random_seed = trainings, random_seed

    def trained(self, candidate: Candidate) -> Payload | Failure:
        self._trainings.begin()
        task, config = self._trainings.task, self._trainings.config(self._random_seed)
        module = self._inheritance.start(candidate)
        result = train(module, task, candidate_recipe(config), self._random_seed, self._teacher)
        if isinstance(result, Failure):
            return result
        test_top1 = evaluate(module, task.held_out)
        return {"val_top1": result.val_top1, "test_top1": test_top1, "seconds": result.seconds}

    def estimated(self, candidate: Candidate) -> Payload:
        """Return the validation accuracy that a training would start from, as `--accuracy refit` guesses."""
        self._trainings.begin()
        return {"val_top1": evaluate(self._inheritance.start(candidate), self._trainings.task.validation)}

    @cached_property
    def _source(self) -> Module:
        return self._trainings.trained_seed(self._random_seed)

    @cached_property
    def _inheritance(self) -> Inheritance:
        spec = seed_spec(MODEL, CLASSES, TRAINING_SHAPE)
        config = self._trainings.config(self._random_seed)
        return Inheritance(config, self._trainings.task, spec, self._source)

    @cached_property
    def _teacher(self) -> RememberingTeacher:
        return RememberingTeacher(self._source)


def table(sizes: Sizes, device: Device, *known: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of everything that is known of the networks that are measured."""
    space = space_of(sizes.ratios, device.pixels)
    figures = structure_figures(space.seed, space.superblocks, CHANNEL_STEP)
    rows = []
    for own in everyone(space):
        found = {key: value for part in known for key, value in part.get(name_of(own), {}).items()}
        if "latency_ratio" in found:
            counts = {name: int(figures[name](own.ratios)) for name in ("params", "macs")}
            rows.append({"ratios": list(own.ratios), **counts, **found})
    return rows


def main() -> None:
    """Go on as far as this slice goes, and write the table as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, default=next(iter(DEVICES)), help="what to measure on")
    parser.add_argument("--table", type=Path, required=True, help="where to write the rows")
    parser.add_argument("--passes", type=int, default=PASSES, help="how often to measure everything")
    parser.add_argument("--layers", action="store_true", help="time layers in the place of whole networks")
    parser.add_argument("--prepare", action="store_true", help="only write the structures to measure")
    add_common_arguments(parser, ".bench/tabular")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    sizes, device = QUICK if arguments.quick else Sizes(), DEVICES[arguments.device]
    if arguments.prepare:
        Structures(device, arguments.work).prepare(everyone(space_of(sizes.ratios, device.pixels)))
        return
    with Store.open(arguments.work / "bench.sqlite") as store:
        rows = _advanced(store, sizes, device, arguments)
        seconds = {
            "measure": _seconds(store, arguments.device, "measure"),
            "train": _seconds(store, TRAININGS, "train"),
            "estimate": _seconds(store, TRAININGS, "estimate"),
        }
    facts = {"sizes": asdict(sizes), "measuring": asdict(SETTINGS), "seconds": seconds}
    _write(arguments.table, arguments.json, arguments.device, rows, facts)


def _advanced(store: Store, sizes: Sizes, device: Device, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Do what this slice is for; return the rows of all that is known by now."""
    own_slice, workdir = Slice.of(arguments), arguments.work
    sizes_json = json.loads(json.dumps(asdict(sizes)))
    measuring = open_ledger(store, arguments.device, {**sizes_json, **device.identity()})
    space = space_of(sizes.ratios, device.pixels)
    latencies = Latencies(measuring, space, device, arguments.passes, workdir, own_slice)
    profiles = Profiles(measuring, space, device, workdir, own_slice)
    trainings = Trainings(open_ledger(store, TRAININGS, sizes_json), sizes, workdir, own_slice)
    is_trained = device == Device()
    timed = profiles if arguments.layers else latencies
    for part in (timed, trainings) if is_trained else (timed,):
        try:
            part.go_on()
        except SliceOver as over:
            print(over, flush=True)
    return table(sizes, device, latencies.rows(), profiles.rows(), trainings.rows() if is_trained else {})


def _seconds(store: Store, name: str, stage: str) -> float | None:
    """Return what one measurement, or one training, took at the median."""
    taken = [own.seconds for own in store.outcomes(name, stage) if own.seconds is not None]
    return round(statistics.median(taken), 2) if taken else None


def _write(path: Path, summary: Path, device: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(own) for own in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    found = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
    found[device] = {
        "machine": machine(**asdict(DEVICES[device])),
        **facts,
        "rows": len(rows),
        "trained": sum("top1" in own for own in rows),
        "trainings": sum(len(own.get("val_top1", ())) for own in rows),
        "second_pass": noise(rows),
    }
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found[device]))


if __name__ == "__main__":
    main()
