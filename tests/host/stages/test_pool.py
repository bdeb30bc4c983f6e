import pytest

from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.errors import UsageError
from scbp_host.space.ratio_sets import Filter, product, uniform, where
from scbp_host.space.ratios import SearchSpace
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.space import (
    POOL_LIMIT,
    acknowledge_space,
    make_pool,
    make_space,
    reference_candidate,
    seed_candidate,
)

SPEC = SeedSpec("resnet18", 10, (3, 32, 32))


def space(blocks, ratios=(1.0, 0.75, 0.5, 0.25), channels=64):
    groups = [ChannelGroup(f"conv{number}", channels, (f"conv{number}",)) for number in range(blocks)]
    return SearchSpace.uniform(SPEC, tuple(Superblock(own.name, (8, 8), (own,)) for own in groups), ratios, 8)


def test_a_small_space_is_searched_whole_without_the_seed():
    small = space(3)
    pool = make_pool(small, 0)
    assert len(pool) == 4**3 - 1
    assert seed_candidate(small).structure_id not in {own.structure_id for own in pool}


def test_a_large_space_is_sampled_with_its_narrowest_and_without_repeats():
    large = space(8)
    pool = make_pool(large, 0)
    ids = {own.structure_id for own in pool}
    assert len(ids) == len(pool) == POOL_LIMIT
    assert pool[0].ratios == (0.25,) * 8
    assert seed_candidate(large).structure_id not in ids


def test_the_sample_is_the_random_seeds():
    large = space(8)
    assert make_pool(large, 1) == make_pool(large, 1)
    assert make_pool(large, 1) != make_pool(large, 2)


def test_a_space_is_large_by_its_networks_and_not_by_its_ratio_tuples():
    """Nine ratios come out as two widths of 16 channels: 9^8 tuples, 2^8 networks."""
    pool = make_pool(space(8, [number / 9 for number in range(1, 10)], channels=16), 0)
    assert len(pool) == 2**8 - 1


def filtered(limit):
    blocks = space(8).superblocks
    everything = product(((1.0, 0.75, 0.5, 0.25),) * 8)
    return SearchSpace(SPEC, blocks, where(everything, Filter("sum", lambda ratios: sum(ratios) <= limit)), 8)


def test_a_filtered_space_is_sampled_from_what_passes():
    pool = make_pool(filtered(4.0), 0)
    assert len({own.structure_id for own in pool}) == len(pool) == POOL_LIMIT
    assert pool[0].ratios == (0.25,) * 8
    assert all(sum(own.ratios) <= 4.0 for own in pool)


def test_a_space_without_candidates_is_refused():
    with pytest.raises(UsageError, match="no structure but the original network"):
        make_pool(filtered(1.0), 0)
    with pytest.raises(UsageError, match="no structure but the original network"):
        make_pool(space(3, (1.0,)), 0)


def described(store, own, random_seed=0):
    store.create_run("r1", {})
    ledger = Ledger(store, "r1", lambda event: None)
    acknowledge_space(ledger, own, make_pool(own, random_seed), random_seed)
    (payload,) = ledger.payloads("space").values()
    return payload


def test_the_reference_is_in_the_middle_of_the_space():
    assert reference_candidate(space(3)).ratios == (0.5, 0.5, 0.5)
    assert reference_candidate(space(2, (1.0, 0.9, 0.7))).ratios == (0.7, 0.7)
    # The set need not hold it, as long as networks can be derived at each of its ratios.
    outside = make_space(SPEC, space(2).superblocks, "explicit([1, 0.5], [0.75, 0.25])", 8)
    assert reference_candidate(outside).ratios == (0.75, 0.5)


def test_the_space_is_acknowledged_with_its_seed(store):
    small = space(2)
    payload = described(store, small)
    assert (payload["size"], payload["size_ci95"], payload["pool_size"]) == (16, None, 15)
    assert payload["seed"] == seed_candidate(small).to_json()
    assert payload["reference"] == reference_candidate(small).to_json()
    assert [block["name"] for block in payload["superblocks"]] == ["conv0", "conv1"]
    assert payload["superblocks"][0]["ratios"] == [1.0, 0.75, 0.5, 0.25]


def test_a_huge_space_is_acknowledged_with_its_exact_size_and_its_samples(store):
    payload = described(store, space(20))
    assert (payload["size"], payload["size_ci95"], payload["pool_size"]) == (4**20, None, POOL_LIMIT)


def test_a_filtered_space_is_acknowledged_with_an_estimate(store):
    payload = described(store, filtered(4.0))
    low, high = payload["size_ci95"]
    assert low < payload["size"] < high < 4**8


def test_ratios_are_read_as_text_too():
    blocks = space(3).superblocks
    assert make_space(SPEC, blocks, (1.0, 0.5), 8).ratio_set == product(((1.0, 0.5),) * 3)
    assert make_space(SPEC, blocks, "uniform(1, 0.5)", 8).ratio_set == uniform((1.0, 0.5), 3)
