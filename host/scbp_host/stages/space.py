"""The space of one run: superblocks, c-ratios, and the pool of structures the search draws from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from scbp_host.domain.candidate import Candidate, SeedSpec, Superblock
from scbp_host.space.ratios import SearchSpace
from scbp_host.stages.ledger import Ledger, Payload

# A space of more structures is searched through a uniform sample of this size.
POOL_LIMIT = 4096


def make_space(
    spec: SeedSpec, superblocks: tuple[Superblock, ...], ratios: Sequence[float], channel_step: int
) -> SearchSpace:
    """Return the space of one set of ratios for every superblock; raises UsageError where that is none."""
    return SearchSpace.uniform(spec, superblocks, ratios, channel_step)


def acknowledge_space(ledger: Ledger, space: SearchSpace) -> None:
    """Record what is searched."""
    ledger.must("space", "space", lambda: _describe(space))


def seed_candidate(space: SearchSpace) -> Candidate:
    """Return the seed as a point of the space: every ratio 1."""
    return space.candidate((1.0,) * len(space.superblocks))


def make_pool(space: SearchSpace, random_seed: int) -> tuple[Candidate, ...]:
    """Return the structures to search, the seed left out: all of them, or a uniform sample of POOL_LIMIT tuples."""
    seed = seed_candidate(space)
    if space.size <= POOL_LIMIT:
        return tuple(own for own in space.candidates() if own.structure_id != seed.structure_id)
    random = np.random.default_rng(random_seed)
    picks = [random.integers(len(ratios), size=POOL_LIMIT) for ratios in space.ratio_sets]
    sample = (
        space.candidate([ratios[column[row]] for ratios, column in zip(space.ratio_sets, picks, strict=True)])
        for row in range(POOL_LIMIT)
    )
    # The narrowest anchors the latency model's lower end.
    narrowest = space.candidate([min(ratios) for ratios in space.ratio_sets])
    unique = {own.structure_id: own for own in itertools.chain([narrowest], sample)}
    unique.pop(seed.structure_id, None)
    return tuple(unique.values())


def _describe(space: SearchSpace) -> Payload:
    return {
        "size": space.size,
        "seed": seed_candidate(space).to_json(),
        "superblocks": [
            {
                "name": block.name,
                "resolution": list(block.resolution),
                "groups": [
                    {"name": group.name, "channels": group.channels, "layers": list(group.layers)}
                    for group in block.groups
                ],
                "ratios": list(ratios),
            }
            for block, ratios in zip(space.superblocks, space.ratio_sets, strict=True)
        ],
    }
