"""How the run's configuration changes the recipes."""

from __future__ import annotations

from dataclasses import replace

from scbp_host.config import RunConfig
from scbp_host.training.recipe import CANDIDATE_RECIPE, SEED_RECIPE, Recipe
from scbp_host.training.supernet import SUPERNET_RECIPE


def seed_recipe(config: RunConfig) -> Recipe:
    """Return how the seed is trained."""
    return replace(SEED_RECIPE, epochs=config.seed_epochs or SEED_RECIPE.epochs, compile=config.compile)


def supernet_recipe(config: RunConfig) -> Recipe:
    """Return how the slimmable seed is trained; not compiled, since every step runs other networks."""
    return replace(
        SUPERNET_RECIPE,
        epochs=config.supernet_epochs or SUPERNET_RECIPE.epochs,
        distill_weight=SUPERNET_RECIPE.distill_weight if config.distill else 0.0,
    )


def candidate_recipe(config: RunConfig) -> Recipe:
    """Return how every candidate is trained.

    Refitted weights are near to what is wanted. A high learning rate takes them far away again, which many epochs more
    than make up for, but few do not: trainings shorter than the recipe's get a lower one.
    """
    epochs = config.epochs or CANDIDATE_RECIPE.epochs
    share = min(1.0, epochs / CANDIDATE_RECIPE.epochs) if config.refits else 1.0
    return replace(
        CANDIDATE_RECIPE,
        epochs=epochs,
        learning_rate=share * CANDIDATE_RECIPE.learning_rate,
        distill_temperature=config.distill_temperature,
        distill_weight=config.distill_weight,
        compile=config.compile,
    )
