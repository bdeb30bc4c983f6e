"""Do models that share one reference's blocks get the ratios that they get in pairs, and what does it save?

Six structures of ResNet-18's space, in several sessions: each structure in a pair with the reference, and all of them
in rounds of four, the reference among them; from session to session the other way comes first. Of each structure, the
round's ratio / the pair's over the sessions, with Student's t: the interval should contain 1.

python tests/bench/rounds.py [--quick] --json docs/bench/rounds.json [--seconds 110]

What is done is kept; run it again, in slices with `--seconds`, alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from repeatability import RATIOS
from slices import Slice, SliceOver, add_common_arguments, machine, open_ledger

from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.measurement import Interval
from scbp_host.domain.outcome import Failure
from scbp_host.export.structure import structure_onnx
from scbp_host.measuring.agreement import pooled_ratio
from scbp_host.measuring.session import MeasureSettings, MeasuringSession, Subject
from scbp_host.profiles import load_profile
from scbp_host.space.derive import derive
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.superblocks import bin_by_stage
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.space import reference_candidate
from scbp_host.store import Store

PAIRS, ROUNDS = "pairs", "rounds"
# Pairs of two, rounds of four.
TOGETHER = {PAIRS: 2, ROUNDS: 4}


def models_and_reference() -> tuple[dict[str, bytes], bytes]:
    """Return the structures by name, without the seed, and what they are paired with."""
    profile, spec = load_profile("local"), seed_spec("resnet18", 10, (3, 32, 32))
    space = SearchSpace.uniform(spec, bin_by_stage(spec), (1.0, 0.75, 0.5, 0.25), profile.channel_step)

    def write(candidate: Any) -> bytes:
        versions = {"opset": profile.opset, "ir_version": profile.ir_version}
        return structure_onnx(derive(candidate), spec.input_shape, **versions)

    models = {"/".join(f"{own:g}" for own in ratios): write(space.candidate(ratios)) for ratios in RATIOS[1:]}
    return models, write(reference_candidate(space))


def measure(client: DeviceClient, models: Mapping[str, bytes], reference: bytes, together: int) -> Payload | Failure:
    """Measure all of them with so many in a round; returns the ratios and the seconds that one model took."""
    settings = MeasureSettings(most_together=together)
    session = MeasuringSession(client, settings, client.options, reference, None, pack_reference=True)
    started = time.monotonic()
    outcomes = session.measure_together([Subject(own, pack=True) for own in models.values()])
    seconds = (time.monotonic() - started) / len(models)
    ratios = {}
    for name, own in zip(models, outcomes, strict=True):
        if isinstance(own, Failure):
            return own
        ratios[name] = [own.ratio.value, own.ratio.low, own.ratio.high]
    return {"ratios": ratios, "seconds_a_model": seconds}


def go_on(ledger: Ledger, sessions: int, workdir: Path, own_slice: Slice) -> None:
    """Measure what is missing; raises SliceOver."""
    models, reference = models_and_reference()
    with open_device(load_profile("local"), workdir) as client:
        for number in range(sessions):
            for way in sorted(TOGETHER, reverse=number % 2 == 1):
                if str(number) not in ledger.subjects(way):
                    own_slice.begin("measure")
                    together = TOGETHER[way]
                    ledger.must(way, str(number), lambda own=together: measure(client, models, reference, own))


def summarise(ledger: Ledger) -> dict[str, Any]:
    """Compare the sessions that were measured both ways."""
    pairs, rounds = ledger.payloads(PAIRS), ledger.payloads(ROUNDS)
    both = sorted(set(pairs) & set(rounds), key=int)
    if len(both) < 2:
        return {"sessions": len(both)}
    rows = {}
    for name in pairs[both[0]]["ratios"]:
        quotients = [rounds[own]["ratios"][name][0] / pairs[own]["ratios"][name][0] for own in both]
        apart = pooled_ratio([Interval(own, own, own) for own in quotients])
        rows[name] = {
            "pair": statistics.median(pairs[own]["ratios"][name][0] for own in both),
            "round": statistics.median(rounds[own]["ratios"][name][0] for own in both),
            "round_to_pair": apart.value,
            "ci95": [apart.low, apart.high],
            "agrees": apart.low <= 1.0 <= apart.high,
        }
    widths = {
        way: float(np.median([(high - low) / value for own in both for value, low, high in of[own]["ratios"].values()]))
        for way, of in ((PAIRS, pairs), (ROUNDS, rounds))
    }
    seconds = {
        way: statistics.median(of[own]["seconds_a_model"] for own in both)
        for way, of in ((PAIRS, pairs), (ROUNDS, rounds))
    }
    return {"sessions": len(both), "models": rows, "median_width": widths, "seconds_a_model": seconds}


def main() -> None:
    """Go on as far as this slice goes, and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, ".bench/rounds")
    arguments = parser.parse_args()
    sessions, own_slice = 2 if arguments.quick else 8, Slice.of(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    with Store.open(arguments.work / "bench.sqlite") as store:
        ledger = open_ledger(store, "rounds", {"sessions": sessions})
        try:
            go_on(ledger, sessions, arguments.work / "agent", own_slice)
        except SliceOver as over:
            print(over, flush=True)
        result = {**summarise(ledger), "machine": machine()}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
