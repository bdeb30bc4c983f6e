"""The whole loop: the only file that knows the order of the stages.

space -> seed -> measure structures -> [propose -> measure -> train -> export -> verify on the device] x rounds
-> measure again what the order turns on -> rank -> test -> report. Every stage is acknowledged in the store before the
next begins.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scbp_host.config import RunConfig
from scbp_host.device.client import open_device
from scbp_host.domain.candidate import Candidate
from scbp_host.domain.outcome import Failure
from scbp_host.errors import UsageError
from scbp_host.events import Listener, Progress, StageFinished, StageStarted
from scbp_host.measuring.session import MeasureSettings
from scbp_host.profiles import load_profile
from scbp_host.report import Summary, write_html, write_summary
from scbp_host.space.ratios import SearchSpace
from scbp_host.space.seeds import seed_spec
from scbp_host.space.survey import Survey
from scbp_host.stages.artifacts import Artifacts
from scbp_host.stages.binning import acknowledge_superblocks
from scbp_host.stages.candidates import CandidateTrainer
from scbp_host.stages.checks import check_profile, checked_survey, take_device
from scbp_host.stages.context import RunContext
from scbp_host.stages.deciding import Deciding
from scbp_host.stages.foresight import make_foresight
from scbp_host.stages.inheritance import Inheritance
from scbp_host.stages.ledger import Ledger, Payload
from scbp_host.stages.names import variant_id
from scbp_host.stages.opening import new_run, resumed_run
from scbp_host.stages.precedents import precedents
from scbp_host.stages.profiles import LayerProfiles
from scbp_host.stages.proposals import Proposals
from scbp_host.stages.ranked import rank
from scbp_host.stages.reference import Reference
from scbp_host.stages.round import TrainingRound
from scbp_host.stages.seed import require_told, trained_seed
from scbp_host.stages.space import acknowledge_space, configured_space, make_pool, roofline_of, seed_candidate
from scbp_host.stages.standing import Standing
from scbp_host.stages.stopping import Stopping
from scbp_host.stages.structures import StructureBench
from scbp_host.stages.summary import budgets_of, summarise
from scbp_host.stages.surroundings import acknowledge_surroundings
from scbp_host.stages.task import load_run_task
from scbp_host.stages.training_pool import TrainingPool
from scbp_host.stages.trainings import Trainings
from scbp_host.stages.untrained import Untrained
from scbp_host.store import STORE_FILE, RunStatus, Store
from scbp_host.tasks.base import Examples

SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"


@dataclass(frozen=True)
class RunResult:
    """Where a finished run lies, and what it found; ``summary.best`` is None where nothing meets the budgets."""

    folder: Path
    summary: Summary


def run(
    config: RunConfig,
    listen: Listener,
    *,
    resume: bool = False,
    command: Sequence[str] = (),
    settings: MeasureSettings | None = None,
    wait_s: float = 0.0,
) -> RunResult:
    """Run the whole loop.

    Args:
        config: what to do.
        listen: told of progress.
        resume: go on with the newest unfinished run of the same configuration.
        command: the command line, for the record.
        settings: how long to measure; None takes the defaults.
        wait_s: how long to wait for a board that another session has.

    Raises:
        ScbpError: see :mod:`scbp_host.errors`; what was acknowledged is kept, and ``resume`` goes on from there.
    """
    profile = load_profile(config.device)
    check_profile(config, profile)
    task = load_run_task(config)
    spec = seed_spec(config.model, len(task.class_names), config.input_shape)
    survey = checked_survey(config, spec, profile)
    with open_device(profile) as client, Store.open(config.out / STORE_FILE) as store:
        take_device(client, config, wait_s, listen)
        run_id = resumed_run(store, config) if resume else new_run(store, config, command)
        ledger = Ledger(store, run_id, listen)
        artifacts = Artifacts(config.out / run_id)
        context = RunContext(
            config, profile, client, task, spec, ledger, artifacts, settings or MeasureSettings(), listen
        )
        acknowledge_surroundings(context)
        superblocks = acknowledge_superblocks(context, survey)
        space = configured_space(config, spec, superblocks, profile, before=store.run(run_id).created_at)
        pool = make_pool(space, config.random_seed)
        acknowledge_space(ledger, space, pool, config.random_seed)
        _Loop(context, store, survey, space, pool).run()
        return _conclude(context, store)


class _Loop:
    """The rounds of one run."""

    def __init__(
        self, context: RunContext, store: Store, survey: Survey, space: SearchSpace, pool: Sequence[Candidate]
    ) -> None:
        self._context = context
        self._store = store
        self._space = space
        self._pool = pool
        self._seed = seed_candidate(space)
        self._stopping = Stopping(context)
        untrained = Untrained(context)
        self._reference = Reference(context, self._seed, untrained)
        self._structures = StructureBench(context, self._seed, untrained, self._reference)
        self._profiles = LayerProfiles(context, survey, space.superblocks, untrained)

    def run(self) -> None:
        """Train the seed, then measure, train and verify round by round; at last, report on the test split."""
        with self._stage("seed"):
            module = trained_seed(self._context, self._seed)
            inheritance = Inheritance(self._context.config, self._context.task, self._context.spec, module)
            trainer = CandidateTrainer(self._context.config, self._context.task, module, inheritance)
            trainings = Trainings(self._context, self._reference, trainer)
            self._measure_seed(trainings)
            foresight = make_foresight(self._context, self._seed, self._pool, module, inheritance)
            foresight.prepare()
        created_at = self._store.run(self._context.ledger.run_id).created_at
        experience = precedents(self._store, created_at, len(self._space.superblocks))
        work = roofline_of(self._context.profile, self._space, self._context.config.first_precision)
        proposals = Proposals(self._context, self._space, self._pool, foresight, self._standing, experience, work)
        number = 1
        while count := self._stopping.allowed(number):
            self._round(number, count, trainings, proposals)
            number += 1
        with self._stage("decide"):
            Deciding(self._context, trainings, self._standing).run()
        with self._stage("test"):
            self._report_test(trainings)

    def _round(self, number: int, count: int, trainings: Trainings, proposals: Proposals) -> None:
        with self._stage("measure"):
            if ahead := proposals.ahead(number):
                batch, what = ("spread", "a spread") if number == 1 else (f"ahead-{number}", "more")
                measured = self._structures.measure(ahead, batch, f"measure {what} of the space, untrained")
                if number == 1:
                    self._profiles.measure([own for own in ahead if not _failed(measured, own)])
            worth = proposals.measured_for_training(number, count, self._structures.measure)
        known = self._standing().candidates
        latencies = {own.candidate.structure_id: own.measurement.ratio.value for own in known if own.measurement}
        with self._stage("train"):
            pool = TrainingPool(self._context, self._seed)
            trained = TrainingRound(self._context, trainings, pool, number).train(worth, latencies)
        with self._stage("verify"):
            self._verify(number, trained, trainings)

    def _measure_seed(self, trainings: Trainings) -> None:
        listen = self._context.listen
        listen(StageStarted("verify", "measure the reference and the seed", 3))
        structure = self._structures.one(self._seed)
        listen(Progress("verify", 1))
        self._reference.check_itself()
        listen(Progress("verify", 2))
        finished = trainings.finish(self._seed, self._seed_payload())
        for precision in self._context.config.precision[1:]:
            # One that fails is a row of the report; the seed itself is measured all the same.
            trainings.finish(self._seed, self._seed_payload(), precision)
        for outcome in (structure, finished):
            if isinstance(outcome, Failure):
                raise UsageError(f"the seed cannot be measured: {outcome.message}", outcome.hint)
        require_told(self._context, self._standing().seed)
        listen(Progress("verify", 3))

    def _verify(self, number: int, trained: Sequence[tuple[Candidate, Payload]], trainings: Trainings) -> None:
        listen = self._context.listen
        listen(StageStarted("verify", f"round {number}: export, ship, measure with real weights", len(trained)))
        verified: list[str] = []
        precisions = (None, *self._context.config.precision[1:])
        for done, (candidate, payload) in enumerate(trained, start=1):
            for precision in precisions:
                outcome = trainings.finish(candidate, payload, precision)
                failed = isinstance(outcome, Failure)
                verified += [] if failed else [variant_id(candidate.structure_id, precision)]
                note = outcome.message if isinstance(outcome, Failure) else f"top-1 {outcome['val_top1']:.3f}"
                listen(Progress("verify", done, f"{_name(candidate)} {precision or ''}: {note}"))
        trainings.settle(f"round-{number}", verified)

    def _report_test(self, trainings: Trainings) -> None:
        """Read the test split once, for the seed and the named best."""
        standing = self._standing()
        best = rank(standing, budgets_of(self._context.config)).best
        subjects = [(standing.seed, self._seed_payload())]
        if best is not None:
            own = best.candidate.structure_id == self._seed.structure_id
            subjects.append((best, self._seed_payload() if own else best.trained))
        self._context.listen(StageStarted("test", "report on the test split", len(subjects)))
        splits: list[Examples] = []

        def read_once() -> Examples:
            if not splits:
                splits.append(self._context.task.test())
            return splits[0]

        for done, (known, payload) in enumerate(subjects, start=1):
            trainings.test(known, payload, read_once)
            self._context.listen(Progress("test", done, _name(known.candidate)))

    def _seed_payload(self) -> Payload:
        return self._context.ledger.payloads("seed")["seed"]

    def _standing(self) -> Standing:
        return Standing.of(self._store.outcomes(self._context.ledger.run_id))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._context.listen(StageFinished(name, time.monotonic() - started))


def _failed(outcomes: Mapping[str, Payload | Failure], candidate: Candidate) -> bool:
    return isinstance(outcomes[candidate.structure_id], Failure)


def _conclude(context: RunContext, store: Store) -> RunResult:
    """Write the report; the run is finished even where nothing met the budgets.

    It is marked so at the very end: killed before that, a resumed run writes the report again.
    """
    run_id = context.ledger.run_id
    summary = summarise(store, run_id)
    if summary.best is not None:
        context.artifacts.publish(summary.best.id)
    write_summary(summary, context.artifacts.folder / SUMMARY_FILE)
    write_html(summary, context.artifacts.folder / REPORT_FILE)
    store.finish_run(run_id, RunStatus.FINISHED)
    return RunResult(context.artifacts.folder, summary)


def _name(candidate: Candidate) -> str:
    return "/".join(f"{ratio:g}" for ratio in candidate.ratios)
