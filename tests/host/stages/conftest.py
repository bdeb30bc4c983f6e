"""A run as the store would hold it, outcome by outcome, made by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from scbp_host.config import RunConfig
from scbp_host.domain.alone import Alone, Energy, Phase
from scbp_host.domain.candidate import Candidate, SeedSpec
from scbp_host.domain.measurement import Interval, Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.stages.standing import Standing
from scbp_host.store import Store

SPEC = SeedSpec("resnet18", 10, (3, 32, 32))
GROUPS = (("conv1", 64), ("layer4", 512))
DEVICE = {
    "name": "board",
    "title": "a board",
    "board": "Board 1",
    "os_release": "Linux",
    "python": "3.6.9",
    "runtime": "onnxruntime",
    "runtime_version": "1.10.0",
    "transport": "ssh",
    "threads": 4,
    "agent_sha256": "ab" * 32,
    "facts": {},
}


def candidate(*ratios: float) -> Candidate:
    """Return the structure of one ratio for each of two groups."""
    widths = [(name, int(full * ratio)) for (name, full), ratio in zip(GROUPS, ratios, strict=True)]
    return Candidate(SPEC, ratios, tuple(widths))


def alone(energy_mj: float) -> Alone:
    """Return what a model shows alone on a board that tells its power."""
    phase = Phase(3_000_000, 50_000_000, True, None, None, None, None)
    energy = Energy(energy_mj / 1e3, 5.0, "INA3221, hwmon", ("VDD_IN",), 20)
    return Alone(None, None, phase, phase, phase, (), (1_000_000,), None, energy, None, ())


def measurement(ratio: float = 1.0, reference_ns: tuple[int, ...] = (1_000_000,), peak_mb: float = 50.0, **figures):
    """Return a measurement in JSON form, its interval 1 % to either side, or ``off`` (a fraction)."""
    off = figures.pop("off", 0.01)
    own = tuple(round(ratio * sample) for sample in figures.pop("own_ns", reference_ns))
    if (energy_mj := figures.pop("energy_mj", None)) is not None:
        figures["alone"] = alone(energy_mj)
    return Measurement(
        Interval(ratio, (1 - off) * ratio, (1 + off) * ratio),
        (own,),
        (reference_ns,),
        int(peak_mb * 1e6),
        20_000_000,
        3_000_000,
        {},
        **figures,
    ).to_json()


@dataclass
class RunBuilder:
    """Appends outcomes to one run of a real store."""

    store: Store
    run_id: str = "r1"

    def add(self, stage, subject, result, seconds=1.0):
        """Append any outcome."""
        return self.store.append(self.run_id, stage, subject, result, seconds)

    def begin(self, reference=None, *, with_groups=False, **config):
        """Append what every run begins with; without a ``reference``, as older versions did, paired with the seed."""
        self.store.create_run(self.run_id, {"config": RunConfig(**config).identity(), "command": ["scbp-host", "run"]})
        self.add("probe", "device", {"record": DEVICE, "warnings": [], "bytes_shipped": 1000})
        sizes = {"train": 50, "validation": 20, "test": 30}
        self.add("data", "task", {"name": "digits", "split_sha256": "cd" * 32, "class_names": ["0", "1"], **sizes})
        blocks = [
            {"name": f"stage-{number}", "resolution": [8, 8], "ratios": [1.0, 0.5], "groups": []} for number in (1, 2)
        ]
        if with_groups:
            for block, (name, full) in zip(blocks, GROUPS, strict=True):
                block["groups"] = [{"name": name, "channels": full, "layers": [name]}]
        space = {"size": 4, "seed": candidate(1.0, 1.0).to_json(), "superblocks": blocks}
        self.add("space", "space", space if reference is None else {**space, "reference": reference.to_json()})
        return self

    def propose(self, number, purpose, *candidates, dropped=0, model=None):
        """Append what a round proposed."""
        proposed = [own.to_json() for own in candidates]
        payload = {"round": number, "candidates": proposed, "plausible": 4, "dropped": dropped, "model": model}
        return self.add("propose", f"round-{number}-{purpose}", payload)

    def measure(self, own, ratio, *, macs=1000, onnx_bytes=4000, wire_bytes=100, **figures):
        """Append an untrained structure's measurement."""
        payload = {"candidate": own.to_json(), "params": 500, "macs": macs, "onnx_bytes": onnx_bytes}
        shipped = {"wire_bytes": wire_bytes, "bytes_shipped": wire_bytes}
        return self.add(
            "measure", own.structure_id, {**payload, **shipped, "measurement": measurement(ratio, **figures)}
        )

    def again(self, stage, own, number, ratio, **figures):
        """Append a repeated measurement of ``measure`` or ``verify``."""
        payload = {"structure_id": own.structure_id, "bytes_shipped": 0, "measurement": measurement(ratio, **figures)}
        return self.add(f"{stage}-again", f"{own.structure_id}/{number}", payload)

    def train(self, own, ratio, val_top1, *, macs=1000, onnx_bytes=4000, test_top1=None, epochs=8, **figures):
        """Append everything from training to the verified measurement."""
        self.add("train", own.structure_id, {"candidate": own.to_json(), "weights_sha256": "ef" * 32, "epochs": epochs})
        self.add("export", own.structure_id, {"params": 500, "macs": macs, "onnx_bytes": onnx_bytes})
        verified = {"val_top1": val_top1, "bytes_shipped": onnx_bytes, "measurement": measurement(ratio, **figures)}
        self.add("verify", own.structure_id, verified)
        if test_top1 is not None:
            self.add("test", own.structure_id, {"test_top1": test_top1})
        return self

    def vary(self, own, precision, ratio, val_top1, *, onnx_bytes=1000, in_float=(), **figures):
        """Append a trained structure's further precision, or its failure in the place of the accuracy."""
        subject = f"{own.structure_id}@{precision}"
        exported = {"params": 500, "macs": 1000, "onnx_bytes": onnx_bytes, "precision": precision}
        self.add("export", subject, {**exported, "in_float": list(in_float)})
        if isinstance(val_top1, Failure):
            return self.add("verify", subject, val_top1)
        verified = {"val_top1": val_top1, "bytes_shipped": onnx_bytes, "measurement": measurement(ratio, **figures)}
        return self.add("verify", subject, verified)

    def rung(self, number, epochs, scores, stopped):
        """Append what came out at a rung: validation accuracies by structure, and who stops there."""
        for own, score in scores.items():
            payload = {"candidate": own.to_json(), "epochs": epochs, "val_top1": score}
            self.add("rung", f"{own.structure_id}@{epochs}", payload)
        ids = {True: [own.structure_id for own in scores if own in stopped]}
        ids[False] = [own.structure_id for own in scores if own not in stopped]
        verdict = {"round": number, "epochs": epochs, "goes_on": ids[False], "stopped": ids[True]}
        return self.add("halving", f"round-{number}-epoch-{epochs}", verdict)

    def fail(self, stage, own, failure: Failure):
        """Append a failure."""
        return self.add(stage, own.structure_id, failure)

    def standing(self) -> Standing:
        """Read it all."""
        return Standing.of(self.store.outcomes(self.run_id))


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    with Store.open(tmp_path / "scbp.sqlite") as store:
        yield store


@pytest.fixture
def run(store):
    """A builder of one run."""
    return RunBuilder(store)


@pytest.fixture(name="candidate")
def candidate_maker():
    """Make a structure from two ratios."""
    return candidate


@pytest.fixture(name="measurement")
def measurement_maker():
    """Make a measurement, in JSON form, from a ratio and the reference's samples."""
    return measurement
