"""The trainings of one round: all candidates to the end, or rung by rung with the better half of each lane going on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.events import Progress, StageStarted
from scbp_host.search.halving import REDUCTION, goes_on, lanes, rungs
from scbp_host.stages.candidates import OnEpoch
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.stages.names import HALVING, TRAIN
from scbp_host.stages.recipes import candidate_recipe
from scbp_host.stages.training_pool import TrainingPool
from scbp_host.stages.trainings import Trainings

Trained = list[tuple[Candidate, Payload]]


class TrainingRound:
    """Trains the candidates of one round.

    Args:
        run: the run.
        trainings: trains one candidate.
        pool: trains several candidates at once, where the configuration says so.
        number: of the round.
    """

    def __init__(self, run: RunContext, trainings: Trainings, pool: TrainingPool, number: int) -> None:
        self._run = run
        self._trainings = trainings
        self._pool = pool
        self._number = number

    def train(self, candidates: Sequence[Candidate], latencies: Mapping[str, float]) -> Trained:
        """Train what is worth it to the end.

        Args:
            candidates: in the order they were proposed.
            latencies: by structure id, in any unit; with halving, candidates compete with neighbours in latency.

        Returns:
            what was trained to the end, with its acknowledged result; failures are in the store.
        """
        field = list(candidates)
        if self._run.config.halving is not None:
            epochs = candidate_recipe(self._run.config).epochs
            heights = rungs(self._run.config.halving, epochs)
            # With a latency budget, fast enough is fast enough: all compete with all.
            count = 1 if self._run.config.latency_budget else max(1, len(field) // REDUCTION ** len(heights))
            ids = [own.structure_id for own in field]
            lane_of = dict(zip(ids, lanes([latencies[own] for own in ids], count), strict=True))
            for epochs in heights:
                field = self._rung(field, epochs, lane_of)
        return self._finish(field)

    def _finish(self, field: Sequence[Candidate]) -> Trained:
        meter = _Meter(self._run, f"round {self._number}: train", len(field))
        self._together(field, None, meter)
        done: Trained = []
        for candidate in field:
            outcome = self._trainings.train(candidate, meter.listen(candidate))
            meter.finish(candidate)
            if not isinstance(outcome, Failure):
                done.append((candidate, outcome))
        return done

    def _rung(self, field: Sequence[Candidate], epochs: int, lane_of: Mapping[str, int]) -> list[Candidate]:
        """Train everybody to ``epochs`` and judge lane by lane; return who goes on."""
        meter = _Meter(self._run, f"round {self._number}: train to epoch {epochs}", len(field))
        self._together(field, epochs, meter)
        scores: dict[str, float] = {}
        for candidate in field:
            outcome = self._trainings.climb(candidate, epochs, meter.listen(candidate))
            meter.finish(candidate)
            if not isinstance(outcome, Failure):
                scores[candidate.structure_id] = outcome["val_top1"]
        subject = f"round-{self._number}-epoch-{epochs}"
        verdict = self._run.ledger.must(HALVING, subject, lambda: self._verdict(scores, lane_of, epochs))
        for structure_id in verdict["stopped"]:
            self._run.artifacts.checkpoint(structure_id).unlink(missing_ok=True)
        return [own for own in field if own.structure_id in verdict["goes_on"]]

    def _together(self, field: Sequence[Candidate], epochs: int | None, meter: _Meter) -> None:
        """Take the candidates' checkpoints to ``epochs`` several at a time; who comes after finds the work done."""
        if self._run.config.train_workers > 1:
            self._pool.advance(self._trainings.pending(field, epochs), epochs, meter.listen)

    def _verdict(self, scores: Mapping[str, float], lane_of: Mapping[str, int], epochs: int) -> Payload:
        onward: dict[str, bool] = {}
        for lane in sorted({lane_of[own] for own in scores}):
            members = [own for own in scores if lane_of[own] == lane]
            onward |= dict(zip(members, goes_on([scores[own] for own in members], epochs), strict=True))
        return {
            "round": self._number,
            "epochs": epochs,
            "lanes": {own: lane_of[own] for own in scores},
            "goes_on": [own for own in scores if onward[own]],
            "stopped": [own for own in scores if not onward[own]],
        }


class _Meter:
    """Turns the epochs of many candidates into one progress; they may be trained at the same time."""

    def __init__(self, run: RunContext, title: str, total: int) -> None:
        self._listen = run.listen
        self._metric = run.task.metric.name
        self._done: dict[str, float] = {}
        self._listen(StageStarted(TRAIN, title, total))

    def listen(self, candidate: Candidate) -> OnEpoch:
        def on_epoch(epoch: int, epochs: int, score: float) -> None:
            self._done[candidate.structure_id] = epoch / epochs
            self._report(f"{_name(candidate)}: epoch {epoch}, validation {self._metric} {score:.3f}")

        return on_epoch

    def finish(self, candidate: Candidate) -> None:
        self._done[candidate.structure_id] = 1.0
        self._report(_name(candidate))

    def _report(self, note: str) -> None:
        self._listen(Progress(TRAIN, sum(self._done.values()), note))


def _name(candidate: Candidate) -> str:
    return "/".join(f"{ratio:g}" for ratio in candidate.ratios)
