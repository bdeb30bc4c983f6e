"""Measuring with the real agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from scbp_agent import wire
from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.measurement import Measurement
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.measuring import session as session_module
from scbp_host.measuring.paired import latency_ratio
from scbp_host.measuring.session import DeviceOutputs, MeasureSettings, MeasuringSession
from scbp_host.profiles import load_profile

MakeOnnx = Callable[..., bytes]
QUICK = MeasureSettings(blocks=6, block_s=0.002, warmup_s=0.002, solo_runs=2)


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
    return MeasuringSession(client, QUICK, client.options, reference, inputs(2), 7)


def test_a_model_is_measured_beside_the_reference_and_alone(client: CountingClient, make_onnx: MakeOnnx) -> None:
    session = make_session(client, make_onnx(8))
    measurement = session.measure(make_onnx(16), pack=True)
    assert isinstance(measurement, Measurement)
    blocks = measurement.candidate_blocks_ns, measurement.reference_blocks_ns
    assert len(blocks[0]) == len(blocks[1]) == QUICK.loads * QUICK.blocks
    assert measurement.ratio == latency_ratio(*blocks, 7, loads=QUICK.loads)
    assert measurement.peak_rss_bytes > measurement.baseline_rss_bytes > 0
    assert measurement.load_ns > 0
    assert {"before", "after", "solo"} <= set(measurement.conditions)
    paired, solo = client.plans
    assert isinstance(paired, wire.PairedPlan)
    assert isinstance(solo, wire.SoloPlan)
    assert paired.candidate == solo.model != paired.reference
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
    assert [type(plan) for plan in client.plans] == [wire.PairedPlan, wire.SoloPlan, wire.PairedPlan]
    assert client.plans[2] == client.plans[0]
    assert again.candidate_blocks_ns != first.candidate_blocks_ns
    assert again.ratio == latency_ratio(again.candidate_blocks_ns, again.reference_blocks_ns, 7, loads=QUICK.loads)
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
    monkeypatch.setattr(session_module, "INFER_SLICE", 4)
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
    monkeypatch.setattr(session_module, "INFER_SLICE", 4)
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
        (Failure(FailureKind.OUT_OF_MEMORY, "killed"), 1),
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
    paired, solo = client.plans
    assert isinstance(paired, wire.PairedPlan)
    assert isinstance(solo, wire.SoloPlan)
    assert (
        paired.options
        == solo.options
        == client.options._replace(settings={**client.options.settings, "graph_optimization": "basic"})
    )
    assert paired.reference_options == client.options != paired.options
    refused = session.measure(make_onnx(16), pack=False, told={"colour": 1})
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.BAD_REQUEST
