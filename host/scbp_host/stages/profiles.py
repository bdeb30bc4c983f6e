"""The time of every layer of the first structures measured: each network teaches the latency model all its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from scbp_host.domain.candidate import Candidate, Superblock
from scbp_host.domain.outcome import Failure
from scbp_host.events import Progress, StageStarted
from scbp_host.measuring.layers import charge_layers, measure_layers
from scbp_host.space.survey import Survey
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import LAYERS, MEASURE
from scbp_host.stages.untrained import Untrained

# The latency model takes time with the cube of its rows, of which a profile is one for each superblock and the head's.
MOST_ROWS = 240


class LayerProfiles:
    """Times layers under the profiler of the device's runtime, where it has one.

    Args:
        run: the run.
        survey: of the seed.
        superblocks: of the run.
        untrained: makes the structures.
    """

    def __init__(
        self, run: RunContext, survey: Survey, superblocks: Sequence[Superblock], untrained: Untrained
    ) -> None:
        self._run = run
        self._survey = survey
        self._untrained = untrained
        self._places = {group.name: own for own, block in enumerate(superblocks) for group in block.groups}
        self._parts = len(superblocks) + 1

    def measure(self, candidates: Sequence[Candidate]) -> None:
        """Profile structures that were measured; where one shows that nothing can be had, there are no profiles."""
        wanted = candidates[: MOST_ROWS // self._parts]
        self._run.listen(StageStarted(MEASURE, "time the layers of the spread", len(wanted)))
        for done, candidate in enumerate(wanted, start=1):
            payload = self._run.ledger.must(LAYERS, candidate.structure_id, partial(self._profiled, candidate))
            if payload["shares"] is None:
                return
            self._run.listen(Progress(MEASURE, done))

    def _profiled(self, candidate: Candidate) -> Payload:
        run = self._run
        onnx = self._untrained.variant(candidate).onnx
        nodes = measure_layers(run.client, onnx, run.timing_images, pack=True)
        if isinstance(nodes, Failure):
            # What the search can do without is no failure of the candidate.
            return {"shares": None, "reason": f"{nodes.kind}: {nodes.message}"}
        charged = charge_layers(nodes, onnx, [layer.name for layer in self._survey.layers])
        if not charged.latency_ns:
            return {"shares": None, "reason": "the runtime does not say which layers its times are of"}
        return {"shares": time_shares(charged.latency_ns, self._survey.owners, self._places, self._parts)}


def time_shares(
    latency_ns: Mapping[str, int], owners: Mapping[str, str], places: Mapping[str, int], parts: int
) -> list[float]:
    """Return each superblock's share of the time, and at last the head's: of the layers that no superblock owns.

    Args:
        latency_ns: by layer.
        owners: the channel group of each layer; see :class:`~scbp_host.space.survey.Survey`.
        places: the number of each group's superblock.
        parts: superblocks + 1.
    """
    times = [0] * parts
    for layer, ns in latency_ns.items():
        times[places.get(owners.get(layer, ""), parts - 1)] += ns
    total = sum(times)
    return [own / total for own in times]
