"""Measuring with the real agent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import quick_measuring

from scbp_agent import wire
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.domain.verdict import Verdict, VerdictKind
from scbp_host.measuring import inferring
from scbp_host.measuring.inferring import DeviceOutputs
from scbp_host.measuring.paired import latency_ratio
from scbp_host.measuring.session import MeasuringSession, Subject
from scbp_host.profiles import load_profile

MakeOnnx = Callable[..., bytes]
QUICK = replace(quick_measuring.QUICK, blocks=6, most_together=4)


class CountingClient(DeviceClient):
    """The real client, which also remembers the plans that it was given."""

    plans: list[object]

    def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
        self.plans.append(plan)
        return super().measure_paired(plan)

    def measure_solo(self, plan: wire.SoloPlan) -> wire.SoloResult | Failure:
        self.plans.append(plan)
        return super().measure_solo(plan)

    def infer(self, plan: wire.InferPlan) -> wire.InferResult | Failure:
        self.plans.append(plan)
        return super().infer(plan)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[CountingClient]:
    client = CountingClient(replace(load_profile("local"), workdir=str(tmp_path / "agent")))
    client.plans = []
    with client:
        yield client


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, 3, 8, 8)).astype(np.float32)


def outputs(onnx: bytes, array: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(onnx).run(None, {"x": array})[0]


def make_session(client: DeviceClient, reference: bytes) -> MeasuringSession:
    return MeasuringSession(client, QUICK, client.options, reference, inputs(2))


def test_a_model_is_measured_beside_the_reference_and_alone(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    measurement = session.measure(make_onnx(16), pack=True)
    assert isinstance(measurement, Measurement)
    blocks = measurement.candidate_blocks_ns, measurement.reference_blocks_ns
    assert len(blocks[0]) == len(blocks[1]) == QUICK.loads * QUICK.blocks
    assert measurement.ratio == latency_ratio(*blocks, loads=QUICK.loads)
    assert measurement.peak_rss_bytes > measurement.baseline_rss_bytes > 0
    assert measurement.load_ns > 0
    assert {"before", "after", "solo"} <= set(measurement.conditions)
    solo, _of_the_reference, paired = client.plans
    assert isinstance(paired, wire.PairedPlan)
    assert isinstance(solo, wire.SoloPlan)
    reference, candidate = paired.models
    assert candidate.model == solo.model != reference.model
    assert paired.inputs is not None
    assert paired.inputs.shape == (2, 3, 8, 8)


def test_a_pair_is_timed_again_and_the_rest_stays(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    first = session.measure(make_onnx(16), pack=True)
    assert isinstance(first, Measurement)
    shipped = client.bytes_shipped
    again = session.pair_again(make_onnx(16), first, pack=True)
    assert isinstance(again, Measurement)
    assert client.bytes_shipped == shipped
    assert [type(plan) for plan in client.plans] == [wire.SoloPlan, wire.SoloPlan, wire.PairedPlan, wire.PairedPlan]
    assert client.plans[3] == client.plans[2]
    assert again.candidate_blocks_ns != first.candidate_blocks_ns
    assert again.ratio == latency_ratio(again.candidate_blocks_ns, again.reference_blocks_ns, loads=QUICK.loads)
    alone = ("peak_rss_bytes", "baseline_rss_bytes", "load_ns")
    assert [getattr(again, name) for name in alone] == [getattr(first, name) for name in alone]
    assert again.conditions["solo"] == first.conditions["solo"]


def test_a_pair_that_fails_when_timed_again_is_a_value(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    first = session.measure(make_onnx(16), pack=True)
    assert isinstance(first, Measurement)
    failure = session.pair_again(b"not an ONNX", first, pack=False)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_MODEL


def test_outputs_come_back_in_order_and_in_slices(
    client: CountingClient, make_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inferring, "INFER_SLICE", 4)
    onnx, array = make_onnx(8), inputs(10)
    expected = outputs(onnx, array)
    result = make_session(client, onnx).infer(onnx, array, expected)
    assert isinstance(result, DeviceOutputs)
    np.testing.assert_allclose(result.outputs, expected, atol=1e-5)
    assert result.max_abs_difference < 1e-5
    assert result.max_abs_expected == pytest.approx(float(np.abs(expected).max()))
    assert [plan.inputs.shape[0] for plan in client.plans if isinstance(plan, wire.InferPlan)] == [4, 4, 2]


@pytest.mark.parametrize("row", [0, 9])
def test_the_largest_difference_counts_wherever_it_is(
    client: CountingClient, make_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(inferring, "INFER_SLICE", 4)
    onnx, array = make_onnx(8), inputs(10)
    expected = outputs(onnx, array).copy()
    expected[row, 3] += 0.5
    result = make_session(client, onnx).infer(onnx, array, expected)
    assert isinstance(result, DeviceOutputs)
    assert result.max_abs_difference == pytest.approx(0.5, abs=1e-4)


def test_a_broken_model_is_a_value_and_is_not_tried_again(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    failure = session.measure(b"not an ONNX", pack=False)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_MODEL
    assert len(client.plans) == 1


class FailingClient(CountingClient):
    """The real client, whose first answers are the failures given."""

    failures: list[Failure]

    def measure_paired(self, plan: wire.PairedPlan) -> wire.PairedResult | Failure:
        result = super().measure_paired(plan)
        return self.failures.pop(0) if self.failures else result


@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        (Failure(FailureKind.TIMEOUT, "slow", transient=True), 2),
        (Failure(FailureKind.BLOB_MISSING, "evicted"), 2),
        (Failure(FailureKind.WORKER_CRASHED, "died"), 1),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Failure) else str(value),
)
def test_what_may_pass_gets_a_second_attempt(
    tmp_path: Path, make_onnx: MakeOnnx, failure: Failure, attempts: int
) -> None:
    client = FailingClient(replace(load_profile("local"), workdir=str(tmp_path / "agent")))
    client.plans, client.failures = [], [failure]
    with client:
        outcome = make_session(client, make_onnx(8)).measure(make_onnx(16), pack=False)
    assert sum(isinstance(plan, wire.PairedPlan) for plan in client.plans) == attempts
    assert isinstance(outcome, Measurement) == (attempts == 2)


def test_a_failure_that_stays_is_told(tmp_path: Path, make_onnx: MakeOnnx) -> None:
    slow = Failure(FailureKind.TIMEOUT, "slow", transient=True)
    client = FailingClient(replace(load_profile("local"), workdir=str(tmp_path / "agent")))
    client.plans, client.failures = [], [slow, slow, slow]
    with client:
        assert make_session(client, make_onnx(8)).measure(make_onnx(16), pack=False) == slow
    assert client.failures == [slow]


def test_all_of_it_over_ssh(write_profile: Callable[..., Path], make_onnx: MakeOnnx) -> None:
    onnx, array = make_onnx(8), inputs(3)
    with open_device(load_profile(str(write_profile()))) as client:
        session = make_session(client, onnx)
        assert isinstance(session.measure(make_onnx(16), pack=True), Measurement)
        result = session.infer(onnx, array, outputs(onnx, array))
    assert isinstance(result, DeviceOutputs)
    np.testing.assert_allclose(result.outputs, outputs(onnx, array), atol=1e-5)


def test_what_a_model_is_told_goes_to_that_model_alone(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    assert isinstance(session.measure(make_onnx(16), pack=False, told={"graph_optimization": "basic"}), Measurement)
    solo, _of_the_reference, paired = client.plans
    assert isinstance(paired, wire.PairedPlan)
    assert isinstance(solo, wire.SoloPlan)
    reference, candidate = paired.models
    assert (
        candidate.options
        == solo.options
        == client.options._replace(settings={**client.options.settings, "graph_optimization": "basic"})
    )
    assert reference.options == client.options != candidate.options
    refused = session.measure(make_onnx(16), pack=False, told={"colour": 1})
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.BAD_REQUEST


def test_several_models_share_the_references_blocks(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    subjects = [Subject(own) for own in (make_onnx(16), b"not an ONNX", make_onnx(24), make_onnx(32), make_onnx(4))]
    first, broken, *others = session.measure_together(subjects)
    assert isinstance(broken, Failure)
    assert broken.kind is FailureKind.BAD_MODEL
    measured = [own for own in (first, *others) if isinstance(own, Measurement)]
    assert [own.sampling and own.sampling.together for own in measured] == [4, 4, 4, 2]
    assert len({own.reference_blocks_ns for own in measured}) == 2
    assert len({own.candidate_blocks_ns for own in measured}) == 4
    assert all(own.alone and own.peak_rss_bytes > own.baseline_rss_bytes for own in measured)


def test_where_a_round_of_several_fails_each_gets_one_of_its_own(tmp_path: Path, make_onnx: MakeOnnx) -> None:
    client = FailingClient(replace(load_profile("local"), workdir=str(tmp_path / "agent")))
    client.plans, client.failures = [], [Failure(FailureKind.WORKER_CRASHED, "died of SIGSEGV")]
    with client:
        outcomes = make_session(client, make_onnx(8)).measure_together([Subject(make_onnx(own)) for own in (16, 24)])
    assert all(isinstance(own, Measurement) for own in outcomes)
    assert [len(plan.models) for plan in client.plans if isinstance(plan, wire.PairedPlan)] == [3, 2, 2]


def test_a_pair_that_runs_out_of_memory_alternates_in_workers(tmp_path: Path, make_onnx: MakeOnnx) -> None:
    client = FailingClient(replace(load_profile("local"), workdir=str(tmp_path / "agent")))
    client.plans, client.failures = [], [Failure(FailureKind.OUT_OF_MEMORY, "killed")]
    with client:
        session = make_session(client, make_onnx(8))
        measured = session.measure(make_onnx(16), pack=False)
        assert isinstance(measured, Measurement)
        again = session.pair_again(make_onnx(16), measured, pack=False)
    assert isinstance(again, Measurement)
    for own in (measured, again):
        assert own.sampling is not None
        assert own.sampling.alternating
        assert VerdictKind.LOW_MEMORY in {verdict.kind for verdict in own.verdicts}


class SmallBoard(CountingClient):
    """The real client, of a board that holds one model of 40 MB but not two; some models fail alone at first."""

    failures: dict[str, list[Failure]]

    def measure_solo(self, plan: wire.SoloPlan) -> wire.SoloResult | Failure:
        result = super().measure_solo(plan)
        failures = self.failures.get(plan.model.blobs["model"], [])
        if failures or isinstance(result, Failure):
            return failures.pop(0) if failures else result
        conditions = {**result.conditions, "before": {"memory_available_bytes": 80_000_000}}
        return result._replace(baseline_rss_bytes=result.peak_rss_bytes - 40_000_000, conditions=conditions)


@pytest.mark.parametrize(("failures", "alternating"), [(1, [True, True]), (2, [False, True])])
def test_that_the_reference_failed_once_is_not_remembered(
    tmp_path: Path, make_onnx: MakeOnnx, failures: int, alternating: list[bool]
) -> None:
    client, reference = SmallBoard(replace(load_profile("local"), workdir=str(tmp_path / "agent"))), make_onnx(8)
    sha256 = hashlib.sha256(reference).hexdigest()
    client.plans, client.failures = [], {sha256: failures * [Failure(FailureKind.TIMEOUT, "slow", transient=True)]}
    with client:
        session = make_session(client, reference)
        measured = [session.measure(make_onnx(own), pack=False) for own in (16, 24)]
    assert [isinstance(own, Measurement) and own.sampling and own.sampling.alternating for own in measured] == (
        alternating
    )
    solo = [own for own in client.plans if isinstance(own, wire.SoloPlan) and sha256 in own.model.blobs.values()]
    assert len(solo) == failures + 1, "once it is known, it is not asked for again"


def test_another_power_mode_is_not_timed_again(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    first = session.measure(make_onnx(16), pack=False)
    assert isinstance(first, Measurement)
    older = replace(first, conditions={**first.conditions, "runtime_version": "0.1"})
    failure = session.pair_again(make_onnx(16), older, pack=False)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.UNLIKE_CONDITIONS


def test_a_measurement_survives_the_store_and_an_earlier_releases_is_read(
    client: CountingClient, make_onnx: MakeOnnx
) -> None:
    measured = make_session(client, make_onnx(8)).measure(make_onnx(16), pack=False)
    assert isinstance(measured, Measurement)
    measured = replace(measured, builds=(measured.ratio,), verdicts=(Verdict(VerdictKind.DRIFT, "it drifts"),))
    data = json.loads(json.dumps(measured.to_json()))
    assert Measurement.from_json(data) == measured
    for key in ("verdicts", "sampling", "builds"):
        del data[key]
    old = Measurement.from_json({**data, "warnings": ["it drifts: cool it"]})
    assert (old.warnings, old.sampling, old.builds) == (("it drifts: cool it",), None, ())
