"""What every model of a run is paired with: a network from the middle of the space, and how the seed compares to it.

The seed would be the natural choice, and is a bad one. The largest network of all is the one whose weights fill the
caches, so what a neighbour on the machine does moves it most, and with it every ratio to it. A network of about half
the width repeats better, and loads in a quarter of the time. As a working standard is calibrated against the primary
one, the seed is measured beside it again and again over the whole run, and all its measurements count.
"""

from __future__ import annotations

from functools import cached_property

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure
from scbp_host.errors import UsageError
from scbp_host.measuring.session import MeasuringSession
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import MEASURE, SELF_TEST
from scbp_host.stages.repeats import measure_again
from scbp_host.stages.standing import reference_of
from scbp_host.stages.untrained import Untrained


class Reference:
    """A run's reference.

    Args:
        run: the run, its space acknowledged.
        seed: the seed as a point of the space.
        untrained: makes both.
    """

    def __init__(self, run: RunContext, seed: Candidate, untrained: Untrained) -> None:
        self._run = run
        self._seed = seed
        self._untrained = untrained
        self.candidate = reference_of(run.ledger.payloads("space")["space"])

    @cached_property
    def session(self) -> MeasuringSession:
        """Measures models beside the reference, which travels as a structure with filler weights."""
        return self._run.measuring(self._untrained.variant(self.candidate), filler=True)

    def check_itself(self) -> None:
        """Measure the reference against itself once, which shows the device's noise.

        Raises:
            UsageError: it cannot be measured.
        """
        outcome = self._run.ledger.once(SELF_TEST, "reference", self._measure_itself)
        if isinstance(outcome, Failure):
            raise UsageError(f"the reference cannot be measured: {outcome.message}", outcome.hint)

    def measure_seed_again(self, turn: str) -> None:
        """Measure the seed's structure beside the reference once more; ``turn`` names when.

        A failure is in the store, and the seed's other measurements stand.
        """
        if self._seed.structure_id != self.candidate.structure_id:
            measure_again(self._run, MEASURE, self._seed.structure_id, turn, self._pair_seed)

    def _measure_itself(self) -> Payload | Failure:
        shipped_before = self._run.client.bytes_shipped
        measured = self.session.measure(self._untrained.variant(self.candidate).onnx, pack=True)
        if isinstance(measured, Failure):
            return measured
        return {
            "bytes_shipped": self._run.client.bytes_shipped - shipped_before,
            "measurement": measured.to_json(),
        }

    def _pair_seed(self, earlier: Measurement) -> Measurement | Failure:
        return self.session.pair_again(self._untrained.variant(self._seed).onnx, earlier, pack=True)
