"""The space of one run: superblocks, c-ratios, and the pool of structures the search draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate, SeedSpec, Superblock
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.precision import Precision
from scbp_host.errors import UsageError
from scbp_host.latency.base import Features
from scbp_host.latency.roofline import roofline
from scbp_host.space.figures import CostTable, LayerWork, structure_figures
from scbp_host.space.ratio_sets.expression import Figure, parse_ratio_set
from scbp_host.space.ratios import SearchSpace
from scbp_host.stages.hindsight import learned_figures
from scbp_host.stages.ledger import Ledger, Payload

# A space of more structures is searched through a uniform sample of this size.
POOL_LIMIT = 4096


def make_space(
    spec: SeedSpec,
    superblocks: tuple[Superblock, ...],
    ratios: Sequence[float] | str,
    channel_step: int,
    learned: Mapping[str, Figure] | None = None,
) -> SearchSpace:
    """Return the space of these ratios in every superblock, or of a set of tuples as text.

    Args:
        spec: the seed.
        superblocks: in forward order.
        ratios: or the text of a set.
        channel_step: of the device.
        learned: what its filters may ask for beside parameters and MACs, see
            :func:`scbp_host.stages.hindsight.learned_figures`.

    Raises:
        UsageError: the text is no set, or a filter cannot be answered.
    """
    if not isinstance(ratios, str):
        return SearchSpace.uniform(spec, superblocks, ratios, channel_step)
    figures = {**structure_figures(spec, superblocks, channel_step), **(learned or {})}
    return SearchSpace(spec, superblocks, parse_ratio_set(ratios, len(superblocks), figures), channel_step)


def configured_space(
    config: RunConfig,
    spec: SeedSpec,
    superblocks: tuple[Superblock, ...],
    profile: DeviceProfile,
    before: str | None = None,
) -> SearchSpace:
    """Return what a run searches; filters ask earlier runs in its store.

    Args:
        config: what to do.
        spec: the seed.
        superblocks: of the seed.
        profile: of the device.
        before: when the run was created; None for now.

    Raises:
        UsageError: the ratios' text is no set, or a filter cannot be answered.
    """
    learned = learned_figures(config, spec, superblocks, profile.channel_step, before)
    return make_space(spec, superblocks, config.ratios, profile.channel_step, learned)


def roofline_of(profile: DeviceProfile, space: SearchSpace, precision: Precision) -> Features:
    """Return what the device's peaks make of each network of the space, as far as the profile names them.

    Args:
        profile: of the device; what it tells its runtime to compute in has the last word.
        space: of the networks.
        precision: of the files.
    """
    groups = [group for block in space.superblocks for group in block.groups]
    work = LayerWork(CostTable(space.seed, groups), space.superblocks)
    computed_in = str(profile.runtime_settings.get("precision", precision.value))
    return roofline(work, len(space.superblocks), profile.hardware, computed_in)


def acknowledge_space(ledger: Ledger, space: SearchSpace, pool: Sequence[Candidate], random_seed: int) -> None:
    """Record what is searched; ``pool`` and ``random_seed`` are :func:`make_pool`'s."""
    ledger.must("space", "space", lambda: _describe(space, len(pool), random_seed))


def seed_candidate(space: SearchSpace) -> Candidate:
    """Return the seed as a point over the superblocks, whether or not the set holds it: every ratio 1."""
    return space.candidate((1.0,) * len(space.superblocks))


def reference_candidate(space: SearchSpace) -> Candidate:
    """Return what every model is paired with: of each superblock, the ratio nearest to one half."""
    return space.candidate(tuple(min(own, key=lambda ratio: abs(ratio - 0.5)) for own in space.alphabets))


def make_pool(space: SearchSpace, random_seed: int) -> tuple[Candidate, ...]:
    """Return the structures to search, the seed left out: all of them, or a uniform sample of POOL_LIMIT.

    Raises:
        UsageError: there is none, or a filter is so narrow that none is found.
    """
    size = space.estimate_size(random_seed)
    whole = size.exact and size.value <= POOL_LIMIT
    pool = tuple(space.derived()) if whole else _sample(space, random_seed)
    if not pool:
        raise UsageError(
            "ratios: no structure but the original network was found in this space",
            "give ratios below 1, and filters that some structure passes",
        )
    return pool


def _sample(space: SearchSpace, random_seed: int) -> tuple[Candidate, ...]:
    # The narrowest anchors the latency model's lower end.
    narrowest = space.narrowest()
    first = [] if narrowest is None else [narrowest]
    drawn = [own for own in space.sample(POOL_LIMIT, random_seed) if own not in first]
    return tuple([*first, *drawn][:POOL_LIMIT])


def _describe(space: SearchSpace, pool_size: int, random_seed: int) -> Payload:
    size = space.estimate_size(random_seed)
    return {
        "size": size.value,
        "size_ci95": None if size.exact else [size.low, size.high],
        "pool_size": pool_size,
        "seed": seed_candidate(space).to_json(),
        "reference": reference_candidate(space).to_json(),
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
            for block, ratios in zip(space.superblocks, space.alphabets, strict=True)
        ],
    }
