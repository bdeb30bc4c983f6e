"""Every search strategy by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from scbp_host.config import SearchStrategy
from scbp_host.search.base import Problem, Strategy
from scbp_host.search.guided import GuidedSearch
from scbp_host.search.one_shot import OneShotSearch
from scbp_host.search.orders import random_order, uniform_order
from scbp_host.search.samplers import SampledSearch, gp, nsga2, tpe

STRATEGIES: Mapping[SearchStrategy, Callable[[Problem], Strategy]] = {
    "guided": GuidedSearch,
    "one_shot": OneShotSearch,
    "random": random_order,
    "uniform": uniform_order,
    "nsga2": partial(SampledSearch, make_sampler=nsga2),
    "tpe": partial(SampledSearch, make_sampler=tpe),
    "gp": partial(SampledSearch, make_sampler=gp),
}


def make_strategy(name: SearchStrategy, problem: Problem) -> Strategy:
    """Return the strategy of that name, which has observed nothing yet."""
    return STRATEGIES[name](problem)
