"""Made-up latencies of two models on a machine that is not quiet, in the agent's own order of blocks.

A series has what real machines were seen to do. Where weights come to lie in memory moves each model from load to load.
Clocks and heat drift. A neighbour comes for a burst, a governor steps: both slow the two models by factors that differ.
Single blocks are hit, as a rule lightly and now and then hard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbp_host.measuring.paired import interval_of_loads
from scbp_host.measuring.settings import MeasureSettings
from scbp_host.measuring.stopping import reason_to_stop

Array = NDArray[np.float64]

BLOCKS = 4


@dataclass(frozen=True)
class Noise:
    """How unquiet the machine is; deviations are of the logarithm of a latency.

    Attributes:
        load: deviation of a model's level from load to load.
        block: deviation of a block's median.
        hit: chance that something else hits a block; it is slower by up to ``hit_factor`` then.
        hit_factor: see ``hit``.
        drift: how much slower both models are after a hundred loads.
        bursts: chance that a burst begins at a load; it lasts for 1 to 8 loads, and slows both models by up to 100 %.
        steps: chance that at a load both models' level steps up or down by up to 20 %, for good.
        unlike: by how much of it a burst or a step moves one model more than the other.
    """

    load: float = 0.02
    block: float = 0.01
    hit: float = 0.05
    hit_factor: float = 2.0
    drift: float = 0.1
    bursts: float = 0.03
    steps: float = 0.01
    unlike: float = 0.1


def pair_ratios(random: np.random.Generator, loads: int, noise: Noise, truth: float = 1.0) -> Array:
    """Return ``(loads, BLOCKS)``: the logarithm of candidate / reference, for each pair of blocks after each load."""
    moments = _moments(random, loads, noise)
    levels = {own: random.normal(0.0, noise.load, (loads, 1)) for own in "CR"}
    unlike = {"C": 1.0 + noise.unlike * random.uniform(-1.0, 1.0, (loads, 1)), "R": np.ones((loads, 1))}
    blocks = {own: levels[own] + unlike[own] * moments[own] + _blocks(random, loads, noise) for own in "CR"}
    return np.log(truth) + blocks["C"] - blocks["R"]


def _moments(random: np.random.Generator, loads: int, noise: Noise) -> dict[str, Array]:
    """Return how slow the machine was at each block of each model: ``(loads, BLOCKS)``, logarithms."""
    slots = np.arange(loads * 2 * BLOCKS)
    level = noise.drift * random.uniform(-1.0, 1.0) * slots / (100.0 * 2 * BLOCKS)
    for load in np.flatnonzero(random.random(loads) < noise.steps):
        level[slots >= _some_slot(random, load)] += random.uniform(-0.2, 0.2)
    for load in np.flatnonzero(random.random(loads) < noise.bursts):
        begins = _some_slot(random, load)
        level[begins : begins + random.integers(1, 8 * 2 * BLOCKS)] += np.log1p(random.uniform(0.0, 1.0))
    # R C | C R | R C | C R, from load to load with the other one first.
    order = np.array([[0, 3, 4, 7], [1, 2, 5, 6]])
    by_load = level.reshape(loads, 2 * BLOCKS)
    candidate, reference = by_load[:, order[1]], by_load[:, order[0]]
    candidate[1::2], reference[1::2] = by_load[1::2][:, order[0]], by_load[1::2][:, order[1]]
    return {"C": candidate, "R": reference}


def _some_slot(random: np.random.Generator, load: int) -> int:
    return int(load) * 2 * BLOCKS + int(random.integers(2 * BLOCKS))


def _blocks(random: np.random.Generator, loads: int, noise: Noise) -> Array:
    blocks = random.normal(0.0, noise.block, (loads, BLOCKS))
    hit = random.random((loads, BLOCKS)) < noise.hit
    return blocks + hit * np.log(random.uniform(1.0, noise.hit_factor, (loads, BLOCKS)))


def load_series(random: np.random.Generator, loads: int, noise: Noise, truth: float = 1.0) -> Array:
    """Return ``(loads,)``: the logarithm of each load's ratio, as the host computes it from the pairs."""
    return np.asarray(np.median(pair_ratios(random, loads, noise, truth), axis=1))


def stopped(logs: Array, settings: MeasureSettings) -> int:
    """Return after how many of these loads a session would stop, batch after batch; all where it would go on."""
    for loads in range(settings.loads, len(logs), settings.loads):
        if reason_to_stop(settings, [interval_of_loads(logs[:loads])], loads, 0.0, 0.0) is not None:
            return loads
    return len(logs)
