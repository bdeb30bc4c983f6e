"""What a run's search proposes: each proposal acknowledged, and what is to be trained measured before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from scbp_host.config import RunConfig
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.latency.base import Features
from scbp_host.latency.transfer import Experience
from scbp_host.search.base import Limits, Problem, Proposal, Purpose, Strategy
from scbp_host.search.one_shot import relative_widths
from scbp_host.search.strategies import make_strategy
from scbp_host.space.ratios import SearchSpace
from scbp_host.stages.context import RunContext
from scbp_host.stages.foresight import Foresight
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import MEASURE, PROPOSE, TRAIN
from scbp_host.stages.standing import Standing

Measure = Callable[[Sequence[Candidate], str, str], Mapping[str, Payload | Failure]]

# A measurement costs seconds, a training minutes; but a search whose predictions are that wrong will not find more.
ATTEMPTS = 5
# Of the time that a round's trainings will take, so much goes into measuring what may be trained.
MEASURE_SHARE = 0.2


class Proposals:
    """Asks the search, with everything observed so far; a resumed run comes to the same.

    Args:
        run: the run.
        space: where its structures come from.
        pool: the structures searched.
        foresight: guesses their accuracies.
        standing: returns what is known by now.
        experience: what earlier runs measured.
        work: what latency follows beside the widths; None adds nothing.
    """

    def __init__(
        self,
        run: RunContext,
        space: SearchSpace,
        pool: Sequence[Candidate],
        foresight: Foresight,
        standing: Callable[[], Standing],
        experience: Experience,
        work: Features | None,
    ) -> None:
        self._run = run
        self._pool = pool
        self._foresight = foresight
        self._standing = standing
        self._experience = experience
        self._work = work
        superblocks = [{group.name: group.channels for group in block.groups} for block in space.superblocks]
        self._widths = relative_widths(pool, superblocks)

    def ahead(self, number: int) -> list[Candidate]:
        """Return what to measure before anything is proposed for training."""
        count = self._run.config.measure if number == 1 else self._affordable()
        return self._propose(number, f"round-{number}", Purpose.MEASURE, count)

    def _affordable(self) -> int:
        """Return how many measurements take a share of the time that a round of trainings does."""
        config, ledger = self._run.config, self._run.ledger
        training_s, measurement_s = ledger.seconds(TRAIN), ledger.seconds(MEASURE)
        if not training_s or not measurement_s:
            return 0
        round_s = config.train * float(np.mean(training_s))
        return min(config.measure, int(MEASURE_SHARE * round_s / max(float(np.mean(measurement_s)), 1e-3)))

    def measured_for_training(self, number: int, count: int, measure: Measure) -> list[Candidate]:
        """Return what to train: proposed, measured, and by that within the budgets.

        While something proposed turns out to be too slow, too large or a failure, the search proposes anew from what
        that taught it.

        Args:
            number: of the round.
            count: how many.
            measure: measures untrained structures, as a batch of some name and title.
        """
        worth: list[Candidate] = []
        for attempt in range(ATTEMPTS):
            batch = f"round-{number}" if attempt == 0 else f"round-{number}-again-{attempt}"
            chosen = self._propose(number, batch, Purpose.TRAIN, count)
            measure(chosen, batch, f"round {number}: measure what is to be trained")
            within = self._within_budgets(chosen)
            worth = [*within, *(own for own in worth if own not in within)][:count]
            if len(within) == len(chosen):
                break
        return worth

    def _propose(self, number: int, batch: str, purpose: Purpose, count: int) -> list[Candidate]:
        subject = f"{batch}-{purpose}"
        payload = self._run.ledger.must(PROPOSE, subject, partial(self._proposed, number, purpose, count))
        return [Candidate.from_json(data) for data in payload["candidates"]]

    def _proposed(self, number: int, purpose: Purpose, count: int) -> Payload:
        if purpose is Purpose.TRAIN:
            self._foresight.refine(lambda more: self._strategy().propose(purpose, more).candidates, count)
        return _payload(number, purpose, self._strategy().propose(purpose, count))

    def _strategy(self) -> Strategy:
        standing, config = self._standing(), self._run.config
        prior = self._foresight.prior(self._widths)
        seed_top1 = standing.seed.val_top1 or 0.0
        limits = _limits(config, standing)
        problem = Problem(
            self._pool,
            self._widths,
            prior,
            limits,
            seed_top1,
            config.random_seed,
            self._experience,
            self._work,
        )
        strategy = make_strategy(config.strategy, problem)
        strategy.observe([standing.observation(known) for known in standing.candidates])
        return strategy

    def _within_budgets(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        standing = self._standing()
        limits = _limits(self._run.config, standing)
        known = {own.candidate.structure_id: standing.observation(own) for own in standing.candidates}
        observations = [known[own.structure_id] for own in chosen]
        return [own.candidate for own in observations if not own.failed and not limits.exceeded_by(own)]


def _limits(config: RunConfig, standing: Standing) -> Limits:
    """Translate the budgets into the search's terms."""
    drop, seed_top1 = config.accuracy_drop_points, standing.seed.val_top1
    return Limits(
        None if config.latency_budget is None else config.latency_budget * 1e6 / standing.seed_p50_ns,
        config.resource_budgets,
        None if drop is None or seed_top1 is None else seed_top1 - drop / 100,
        config.min_improvement,
    )


def _payload(number: int, purpose: Purpose, proposal: Proposal) -> Payload:
    model = None
    if proposal.model is not None:
        model = asdict(proposal.model)
        model["interval_coverage"] = model.pop("coverage")
    return {
        "round": number,
        "purpose": purpose.value,
        "candidates": [candidate.to_json() for candidate in proposal.candidates],
        "plausible": proposal.plausible,
        "dropped": proposal.dropped,
        "improvement": proposal.improvement,
        "model": model,
    }
