"""The seed: trained first, or given; every ratio of the run is to it."""

from __future__ import annotations

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.domain.resources import resources_of
from scbp_host.errors import CapabilityError
from scbp_host.events import Progress, StageStarted
from scbp_host.space.seeds import Module, build_seed, load_weights
from scbp_host.stages.context import RunContext
from scbp_host.stages.known import Known
from scbp_host.stages.ledger import Payload
from scbp_host.stages.recipes import seed_recipe
from scbp_host.training.inference import evaluate
from scbp_host.training.trainer import train

SEED = "seed"


def trained_seed(run: RunContext, candidate: Candidate) -> Module:
    """Return the trained seed; raises ModelError for weights that are not the model's."""
    payload = run.ledger.must(SEED, SEED, lambda: _make(run, candidate))
    run.artifacts.checkpoint(candidate.structure_id).unlink(missing_ok=True)
    return run.artifacts.load_module(candidate.structure_id, payload["weights_sha256"])


def require_told(run: RunContext, seed: Known) -> None:
    """Raise CapabilityError where the seed's measurement does not tell what the run has a budget of."""
    for resource in run.config.resource_budgets:
        if resource not in resources_of(seed.measurement):
            name = run.profile.name
            raise CapabilityError(
                f"{name}: the board did not tell the seed's {resource.title}, so it can have no budget",
                f"leave out the {resource.name} budget; what the board tells: scbp-host devices probe {name}",
            )


def _make(run: RunContext, candidate: Candidate) -> Payload | Failure:
    module = build_seed(run.spec, random_seed=run.config.random_seed)
    if run.config.weights is not None:
        load_weights(module, run.config.weights)
        score = evaluate(module, run.task.validation, run.task.metric)
        facts: Payload = {"val_top1": score, "epochs": 0, "device": "given"}
    else:
        recipe, metric = seed_recipe(run.config), run.task.metric.name
        run.listen(StageStarted(SEED, f"train the seed, {run.spec.factory}", recipe.epochs))
        result = train(
            module,
            run.task,
            recipe,
            run.config.random_seed,
            on_epoch=lambda epoch, _, score: run.listen(Progress(SEED, epoch, f"validation {metric} {score:.3f}")),
            checkpoint=run.artifacts.checkpoint(candidate.structure_id),
        )
        if isinstance(result, Failure):
            return result
        facts = {"val_top1": result.val_top1, "epochs": result.epochs, "device": result.device}
    return {**facts, "weights_sha256": run.artifacts.save_module(candidate, module)}
