from __future__ import annotations

from scbp_host.config import RunConfig
from scbp_host.stages.recipes import supernet_recipe
from scbp_host.training.supernet import SUPERNET_RECIPE


def test_the_slimmable_seed_is_not_distilled_where_nothing_may_be() -> None:
    assert supernet_recipe(RunConfig()) == SUPERNET_RECIPE
    assert supernet_recipe(RunConfig(distill=False)).distill_weight == 0.0
