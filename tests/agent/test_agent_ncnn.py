"""ncnn models on the agent, by the real ncnn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from scbp_agent import wire
from scbp_agent.runtimes import base
from scbp_agent.runtimes import ncnn as runtime
from scbp_host.domain.device_model import DeviceModel
from scbp_host.export.formats import converter_for

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def files(make_onnx: Callable[..., bytes]) -> dict[str, bytes]:
    """A small network in ncnn's two files, (1, 3, 8, 8) -> (1, 16)."""
    model = converter_for("ncnn")(make_onnx(16))
    assert isinstance(model, DeviceModel)
    return dict(model.files)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((4, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def expected(make_onnx: Callable[..., bytes], images: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(make_onnx(16)).run(None, {"x": images})[0])


def options(threads: int = 1, **settings: Any) -> dict[str, Any]:
    return {"runtime": "ncnn", "threads": threads, "settings": settings}


def put(agent: Any, files: dict[str, bytes]) -> dict[str, Any]:
    return {"format": "ncnn", "blobs": {role: agent.put(content, wire.XZ) for role, content in files.items()}}


def infer(agent: Any, files: dict[str, bytes], images: np.ndarray, **own: Any) -> dict[str, Any]:
    inputs = agent.put_tensor(images)
    plan = {"model": put(agent, files), "options": options(**own), "inputs": inputs, "expected": None}
    return agent.ask(wire.INFER, **plan, deadline_s=DEADLINE_S)


def test_its_outputs_are_those_of_onnxruntime(agent, files, images, expected):
    plan = {"model": put(agent, files), "inputs": agent.put_tensor(images), "expected": agent.put_tensor(expected)}
    for own in (options(), options(threads=2), options(winograd=False)):
        result = wire.infer_result(agent.result(wire.INFER, **plan, options=own, deadline_s=DEADLINE_S))
        assert (result.dtype, result.shape) == ("float32", (4, 16))
        assert result.max_abs_difference <= 1e-5 * result.max_abs_expected, own


def test_it_is_measured_in_pairs_and_alone_without_inputs_of_the_hosts(agent, files):
    assert agent.hello["runtimes"]["ncnn"]
    assert agent.hello["max_opset"]["ncnn"] is None
    model = put(agent, files)
    plan = {"loads": 2, "blocks": 2, "block_ns": 200_000, "warmup_ns": 100_000, "deadline_s": DEADLINE_S}
    pair = {"models": [{"model": model, "options": options()}] * 2, "inputs": None}
    paired = wire.paired_result(agent.result(wire.MEASURE_PAIRED, **pair, **plan))
    assert [len(own.blocks_ns) for own in paired.models] == [2 * 2] * 2
    solo = {"model": model, "options": options(), "inputs": None, "runs": 2, "deadline_s": DEADLINE_S}
    assert wire.solo_result(agent.result(wire.MEASURE_SOLO, **solo)).load_ns > 0
    assert agent.scratch_files() == []


def test_an_image_of_another_size_is_refused(agent, files):
    error = infer(agent, files, np.zeros((1, 3, 9, 9), np.float32))["error"]
    assert error["kind"] == wire.BAD_MODEL
    assert "float32 [1, 3, 8, 8]" in error["message"]


def test_files_that_are_no_model_are_one_clear_line(agent, files, images):
    param, weights = files["param"], files["bin"]
    cases = {
        "has no layer Pulling": (param.replace(b"Pooling ", b"Pulling "), weights),
        "states no size": (param.replace(b" 0=8 1=8 2=3", b""), weights),
        "does not begin as an ncnn param file does": (b"\x00\xff" * 50, weights),
        "has 0 inputs": (param.replace(b"Input ", b"Noop "), weights),
        "its weights are not those": (param, weights[:100]),
    }
    for why, (network, content) in cases.items():
        error = infer(agent, {"param": network, "bin": content}, images)["error"]
        assert error["kind"] == wire.BAD_MODEL
        assert why in error["message"]
        assert "workdir" not in error["message"]
    assert infer(agent, files, images)["ok"], "the next request works"


def test_other_roles_and_other_formats_are_refused(agent, files, images):
    error = infer(agent, {"model": files["bin"]}, images)["error"]
    assert (error["kind"], "'bin' and 'param'" in error["message"]) == (wire.BAD_REQUEST, True)
    onnx = {"format": "onnx", "blobs": {"model": agent.put(b"onnx")}}
    plan = {"model": onnx, "options": options(), "inputs": None, "runs": 1, "deadline_s": DEADLINE_S}
    error = agent.error(wire.MEASURE_SOLO, **plan)
    assert error["kind"] == wire.CAPABILITY_MISSING
    assert "pnnx" in error["hint"]


def test_a_setting_is_what_the_library_is_told(files, tmp_path, images):
    for role, content in files.items():
        (tmp_path / role).write_bytes(content)
    paths = {role: str(tmp_path / role) for role in files}

    def told(**settings: Any) -> tuple[Any, ...]:
        asked = wire.RuntimeOptions("ncnn", 3, settings)
        with base.open_model("ncnn", paths, asked) as model:
            assert isinstance(model, runtime.NcnnModel)
            option = model._net.opt
            half = {option.use_fp16_packed, option.use_fp16_storage, option.use_fp16_arithmetic}
            assert model.run(images[:1])[0].shape == (1, 16)
            return half, option.use_winograd_convolution, option.num_threads, bool(model.notes)

    # No x86 calculates in fp16, which is worth a note.
    assert told() == ({False}, True, 3, False)
    assert told(precision="fp16", winograd=False) == ({True}, False, 3, True)


def test_where_it_is_missing_the_hint_installs_it_alone(start_agent, device_python):
    agent = start_agent(python=device_python, PYTHONPATH="").greet()
    hint = agent.hello["missing"]["ncnn"]
    # What its wheels ask for beside numpy is for its model zoo, and may be OpenCV to be compiled.
    assert hint.endswith(f"{device_python} -m pip install numpy && {device_python} -m pip install --no-deps ncnn")
