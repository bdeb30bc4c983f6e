from __future__ import annotations

import base64

import numpy as np
import onnx
import onnxruntime
import pytest

from scbp_agent import wire

DEADLINE_S = 60.0


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(1).standard_normal((7, 3, 4, 4)).astype(np.float32)


def median_ns(blocks):
    return np.median(np.concatenate(blocks))


def paired(options, candidate, reference, inputs=None, **changes):
    plan = {"loads": 1, "blocks": 4, "block_ns": 200_000, "warmup_ns": 100_000, "deadline_s": DEADLINE_S, **changes}
    models = [{"model": own, "options": options} for own in (reference, candidate)]
    return {**plan, "models": models, "inputs": inputs}


def test_paired_gives_every_raw_sample(agent, options, linear_model, weights, images):
    candidate = agent.put_model(linear_model(weights), wire.XZ)
    reference = agent.put_model(linear_model(np.tile(weights, 400)))
    plan = paired(options, candidate, reference, agent.put_tensor(images))
    result = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **plan))
    of_reference, of_candidate = result.models
    assert len(of_candidate.blocks_ns) == len(of_reference.blocks_ns) == 4
    assert all(len(block) >= 2 for block in of_candidate.blocks_ns + of_reference.blocks_ns)
    assert len(of_candidate.warmup_ns) >= 3
    assert len(of_reference.warmup_ns) >= 3
    assert set(result.conditions) == {"before", "during", "after", "runtime_version"}
    assert result.conditions["runtime_version"] == onnxruntime.__version__
    assert result.conditions["before"].keys() == result.conditions["after"].keys()
    # 400 times the work is no question of timing.
    assert median_ns(of_candidate.blocks_ns) < median_ns(of_reference.blocks_ns)
    assert agent.scratch_files() == []


def test_paired_loads_both_models_anew_and_keeps_the_order(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    result = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **paired(options, model, model, loads=3)))
    assert [len(own.blocks_ns) for own in result.models] == [3 * 4] * 2
    assert all(len(own.warmup_ns) >= 3 * 3 for own in result.models)
    assert len(result.loads) == 3


def test_fast_models_get_more_blocks_and_as_many_after_every_load(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    plan = paired(options, model, model, loads=3, sampling_ns=20_000_000)
    result = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **plan))
    counts = {len(own.blocks_ns) for own in result.models}
    assert len(counts) == 1
    assert counts.pop() > 3 * 4
    assert len(result.models[0].blocks_ns) % (2 * 3) == 0


def test_paired_never_mixes_the_models_up_whoever_leads(agent, options, linear_model, weights):
    small = agent.put_model(linear_model(weights))
    large = agent.put_model(linear_model(np.tile(weights, 400)))
    result = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **paired(options, small, large, loads=2)))
    for load in (slice(0, 4), slice(4, 8)):
        # 400 times the work is no question of timing.
        of_large, of_small = result.models
        assert median_ns(of_small.blocks_ns[load]) < median_ns(of_large.blocks_ns[load])


def test_paired_makes_its_own_inputs_where_none_are_sent(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    wire.paired_result(agent.result(wire.MEASURE_PAIRED, **paired(options, model, model)))


def test_paired_wants_an_even_number_of_blocks(agent, options, linear_model, weights):
    model = agent.put_model(linear_model(weights))
    error = agent.error(wire.MEASURE_PAIRED, **paired(options, model, model, blocks=3))
    assert error["kind"] == wire.BAD_REQUEST
    assert "even" in error["message"]


def solo(agent, options, model, inputs=None):
    plan = {"model": model, "options": options, "inputs": inputs, "runs": 3, "deadline_s": DEADLINE_S}
    return wire.solo_result(agent.result(wire.MEASURE_SOLO, **plan))


def test_solo_memory_is_the_models_own(agent, options, linear_model, weights):
    small = solo(agent, options, agent.put_model(linear_model(weights)))
    large_weights = np.zeros((48, 300_000), np.float32)
    large = solo(agent, options, agent.put_model(linear_model(large_weights), wire.XZ))
    assert len(small.runs_ns) == 3
    assert small.peak_rss_bytes >= small.baseline_rss_bytes
    # The runtime and the interpreter are the same in both; the model is not.
    assert abs(large.baseline_rss_bytes - small.baseline_rss_bytes) < large_weights.nbytes / 4
    assert large.peak_rss_bytes - large.baseline_rss_bytes > large_weights.nbytes
    assert small.peak_rss_bytes - small.baseline_rss_bytes < large_weights.nbytes / 4


def infer(model, options, inputs, expected=None):
    return {"model": model, "options": options, "inputs": inputs, "expected": expected, "deadline_s": DEADLINE_S}


def test_infer_returns_every_output_and_how_far_it_is_from_the_hosts(agent, options, linear_model, weights, images):
    wanted = images.reshape(7, -1) @ weights
    shifted = wanted.copy()
    shifted[3, 2] += 0.5
    plan = infer(agent.put_model(linear_model(weights)), options, agent.put_tensor(images), agent.put_tensor(shifted))
    result = wire.infer_result(agent.result(wire.INFER, **plan))
    outputs = np.frombuffer(base64.b64decode(result.data_base64), result.dtype).reshape(result.shape)
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-4)
    assert result.max_abs_difference == pytest.approx(0.5, abs=1e-3)
    assert result.max_abs_expected == pytest.approx(float(np.abs(shifted).max()))


def test_infer_without_expected_compares_nothing(agent, options, linear_model, weights, images):
    plan = infer(agent.put_model(linear_model(weights)), options, agent.put_tensor(images))
    result = wire.infer_result(agent.result(wire.INFER, **plan))
    assert result.shape == (7, 5)
    assert result.max_abs_difference is None
    assert result.max_abs_expected is None


def test_outputs_that_are_not_finite_are_a_bad_model(agent, options, linear_model, weights, images):
    plan = infer(agent.put_model(linear_model(weights, activation="Log")), options, agent.put_tensor(images))
    error = agent.error(wire.INFER, **plan)
    assert error["kind"] == wire.BAD_MODEL
    assert error["message"] == "outputs are not finite"


def test_expected_of_another_shape_is_a_bad_request(agent, options, linear_model, weights, images):
    expected = agent.put_tensor(np.zeros((7, 4), np.float32))
    plan = infer(agent.put_model(linear_model(weights)), options, agent.put_tensor(images), expected)
    assert agent.error(wire.INFER, **plan)["kind"] == wire.BAD_REQUEST


def test_tensor_whose_shape_is_not_its_size_is_a_bad_request(agent, options, linear_model, weights, images):
    tensor = {**agent.put_tensor(images), "shape": [8, 3, 4, 4]}
    error = agent.error(wire.INFER, **infer(agent.put_model(linear_model(weights)), options, tensor))
    assert error["kind"] == wire.BAD_REQUEST
    assert "384" in error["message"]


@pytest.mark.parametrize(
    "images", [np.zeros((2, 3, 5, 5), np.float32), np.zeros((2, 3, 4, 4), np.float64), np.zeros((2, 48), np.float32)]
)
def test_inputs_the_model_does_not_take_are_named_with_what_it_takes(agent, options, linear_model, weights, images):
    error = agent.error(wire.INFER, **infer(agent.put_model(linear_model(weights)), options, agent.put_tensor(images)))
    assert error["kind"] == wire.BAD_MODEL
    assert "float32 [1, 3, 4, 4]" in error["message"]


def test_free_batch_size_takes_one_image_at_a_time(agent, options, linear_model, weights, images):
    model = agent.put_model(linear_model(weights, input_shape=("batch", 3, 4, 4)))
    result = wire.infer_result(agent.result(wire.INFER, **infer(model, options, agent.put_tensor(images))))
    assert result.shape == (7, 5)


def test_file_that_is_no_onnx_is_one_clear_line(agent, options, images):
    error = agent.error(wire.INFER, **infer(agent.put_model(b"GIF89a"), options, agent.put_tensor(images)))
    assert error["kind"] == wire.BAD_MODEL
    assert "\n" not in error["message"]
    assert str(agent.workdir) not in error["message"]


def test_external_data_is_refused(agent, options, linear_model, weights, images, tmp_path):
    model = onnx.load_from_string(linear_model(np.tile(weights, 100)))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    model = agent.put_model((tmp_path / "m.onnx").read_bytes())
    error = agent.error(wire.INFER, **infer(model, options, agent.put_tensor(images)))
    assert error["kind"] == wire.BAD_MODEL
    assert "external" in error["message"]


def test_unknown_runtime_is_told_before_anything_is_unpacked(agent):
    model = {"format": "onnx", "blobs": {"model": "0" * 64}}
    plan = {"model": model, "inputs": None, "runs": 1, "deadline_s": DEADLINE_S}
    error = agent.error(wire.MEASURE_SOLO, options={"runtime": "onxruntime", "threads": 1, "settings": {}}, **plan)
    assert error["kind"] == wire.CAPABILITY_MISSING
    assert "'onxruntime'; known: ncnn, onnxruntime, tensorrt, tensorrt-rtx" in error["message"]


@pytest.mark.parametrize("method", [wire.MEASURE_SOLO, wire.MEASURE_LAYERS])
def test_setting_that_the_runtime_does_not_have_is_refused(agent, options, linear_model, weights, method):
    options["settings"] = {"precison": "fp16"}
    plan = {"model": agent.put_model(linear_model(weights)), "inputs": None, "runs": 1, "deadline_s": DEADLINE_S}
    error = agent.error(method, options=options, warmup_runs=1, **plan)
    assert error["kind"] == wire.BAD_REQUEST
    assert "onnxruntime has no setting 'precison'; there are: " in error["message"]


def test_format_that_no_runtime_takes_is_a_missing_capability(agent, options):
    model = {"format": "ncnn", "blobs": {"param": agent.put(b"p"), "bin": agent.put(b"b")}}
    plan = {"model": model, "options": options, "inputs": None, "runs": 1, "deadline_s": DEADLINE_S}
    assert agent.error(wire.MEASURE_SOLO, **plan)["kind"] == wire.CAPABILITY_MISSING


def test_model_that_was_not_sent_is_a_missing_blob(agent, options):
    model = {"format": "onnx", "blobs": {"model": "0" * 64}}
    plan = {"model": model, "options": options, "inputs": None, "runs": 1, "deadline_s": DEADLINE_S}
    assert agent.error(wire.MEASURE_SOLO, **plan)["kind"] == wire.BLOB_MISSING
