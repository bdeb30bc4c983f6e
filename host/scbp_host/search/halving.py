"""Successive halving: candidates that fall behind their like early are not trained to the end.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016. At each
rung the better half goes on. Optuna's pruner decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna

# Of the candidates at a rung, one in this many goes on, and the next rung is this many times as high.
REDUCTION = 2


def rungs(first: int, epochs: int) -> list[int]:
    """Return the epochs at which candidates are judged: ``first``, doubled again and again, below ``epochs``."""
    heights = []
    while first < epochs:
        heights.append(first)
        first *= REDUCTION
    return heights


def lanes(latencies: Sequence[float], count: int) -> list[int]:
    """Cut the candidates into lanes of neighbours in latency, of equal sizes or nearly.

    Judged all together by accuracy, the fast ones would lose, whatever they are worth.

    Args:
        latencies: of each candidate, in any unit.
        count: how many lanes, at least 1.

    Returns:
        the lane of each candidate, from 0, the fastest.
    """
    ranked = sorted(range(len(latencies)), key=lambda row: latencies[row])
    lane = [0] * len(latencies)
    for position, row in enumerate(ranked):
        lane[row] = position * count // len(latencies)
    return lane


def goes_on(scores: Sequence[float], epochs: int) -> list[bool]:
    """Judge the candidates of one lane at one rung: half of them goes on, and at least one.

    Optuna's pruner is asynchronous: it compares a trial with those that came before it, and the first of all always
    goes on. Here everybody has arrived, so each is judged as the last one, and the order has no part in it.

    Args:
        scores: of each candidate, in the order they were proposed; of equal ones the first goes on.
        epochs: the rung.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Validation accuracies are shares of some hundred images: ties are common, and must not let more through.
    distinct = [score - 1e-9 * position for position, score in enumerate(scores)]
    return [
        _survives(own, [*distinct[:position], *distinct[position + 1 :]], epochs)
        for position, own in enumerate(distinct)
    ]


def _survives(own: float, others: Sequence[float], epochs: int) -> bool:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=epochs, reduction_factor=REDUCTION)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for score in others:
        _arrives(study, score, epochs)
    return _arrives(study, own, epochs)


def _arrives(study: optuna.Study, score: float, epochs: int) -> bool:
    trial = study.ask()
    trial.report(score, step=epochs)
    return not trial.should_prune()
