"""What stages are called, and whom their outcomes are about."""

from __future__ import annotations

from scbp_host.domain.precision import Precision
from scbp_host.store import Outcome

BINNING = "binning"
# What each round may train, and why the search ended; see stopping.py.
STOP = "stop"
MEASURE, TRAIN, EXPORT, VERIFY, TEST, PROPOSE = "measure", "train", "export", "verify", "test", "propose"
# Which latency the order of the trained turns on, again and again until none does; see deciding.py.
DECIDE = "decide"
# What share of its time each superblock takes; see profiles.py.
LAYERS = "layers"
# The reference against itself, which shows the device's noise; see reference.py.
SELF_TEST = "self-test"
# Which of a batch were too uncertain, and what measuring them again gave; see repeats.py.
UNCERTAIN = "uncertain"
AGAIN = {MEASURE: "measure-again", VERIFY: "verify-again"}
# A rung's outcome for one candidate, under the subject that rung_subject() gives; and the verdict over a whole rung.
RUNG, HALVING = "rung", "halving"


def variant_id(structure_id: str, precision: Precision | None) -> str:
    """Name a structure in one of the run's further precisions; None is the run's first, which needs no name."""
    return structure_id if precision is None else f"{structure_id}@{precision}"


def rung_subject(structure_id: str, epochs: int) -> str:
    """Name a rung's outcome for one candidate."""
    return f"{structure_id}@{epochs}"


def structure_id_of(outcome: Outcome) -> str:
    """Return which candidate an outcome is about; of outcomes that are about none, the subject."""
    return outcome.subject.partition("@")[0]
