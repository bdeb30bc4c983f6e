from scbp_host.domain.candidate import ChannelGroup, SeedSpec, Superblock
from scbp_host.space.ratios import SearchSpace
from scbp_host.stages.ledger import Ledger
from scbp_host.stages.space import POOL_LIMIT, acknowledge_space, make_pool, seed_candidate

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
    assert len(ids) == len(pool) <= POOL_LIMIT + 1
    assert pool[0].ratios == (0.25,) * 8
    assert seed_candidate(large).structure_id not in ids


def test_the_sample_is_the_random_seeds():
    large = space(8)
    assert make_pool(large, 1) == make_pool(large, 1)
    assert make_pool(large, 1) != make_pool(large, 2)


def test_the_space_is_acknowledged_with_its_seed(store):
    store.create_run("r1", {})
    small = space(2)
    ledger = Ledger(store, "r1", lambda event: None)
    acknowledge_space(ledger, small)
    (payload,) = ledger.payloads("space").values()
    assert payload["size"] == 16
    assert payload["seed"] == seed_candidate(small).to_json()
    assert [block["name"] for block in payload["superblocks"]] == ["conv0", "conv1"]
