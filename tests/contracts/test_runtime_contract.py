"""What every runtime of the agent promises, shown with each of them. A new runtime is one line in CASES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_standin import VERSIONS, install

from scbp_agent import wire
from scbp_agent.runtimes import base
from scbp_host.domain.device_model import DeviceModel
from scbp_host.export.formats import converter_for

MakeOnnx = Callable[..., bytes]


@dataclass(frozen=True)
class Case:
    """A runtime, and how a model that ONNX describes comes to be in its format."""

    name: str
    write: Callable[[bytes, Path], tuple[str, dict[str, str]]]
    profiles: bool = True
    # Puts in place what this machine lacks.
    stand_in: Callable[[pytest.MonkeyPatch], object] = lambda patch: None
    variant: str = ""


def write_onnx(content: bytes, folder: Path) -> tuple[str, dict[str, str]]:
    (folder / "model.onnx").write_bytes(content)
    return "onnx", {"model": str(folder / "model.onnx")}


def write_ncnn(content: bytes, folder: Path) -> tuple[str, dict[str, str]]:
    model = converter_for("ncnn")(content)
    assert isinstance(model, DeviceModel)
    for role, own in model.files.items():
        (folder / f"model.{role}").write_bytes(own)
    return model.format, {role: str(folder / f"model.{role}") for role in model.files}


def tensorrt_case(generation: str, cuda: str) -> Case:
    """TensorRT over stand-ins: its code is real, the library and the GPU are not."""
    name = "tensorrt-rtx" if generation == "rtx" else "tensorrt"
    return Case(name, write_onnx, stand_in=partial(install, generation=generation, cuda=cuda), variant=generation)


CASES = [
    Case("onnxruntime", write_onnx),
    Case("ncnn", write_ncnn, profiles=False),
    *(tensorrt_case(own, cuda) for own, cuda in zip(VERSIONS, cycle(["pycuda", "cuda-python"]))),
]


@dataclass(frozen=True)
class Subject:
    """One small network, (1, 3, 8, 8) -> (1, 8), in a runtime's format."""

    case: Case
    format: str
    paths: dict[str, str]
    cache: str

    def options(self, **settings: Any) -> wire.RuntimeOptions:
        return wire.RuntimeOptions(self.case.name, 1, settings)

    def prepare(self, **settings: Any) -> base.Prepared:
        return base.prepare(self.format, self.paths, self.options(**settings), self.cache)

    def open(self) -> base.Model:
        prepared = self.prepare()
        return base.open_model(prepared.format, prepared.paths, self.options())


@pytest.fixture(params=CASES, ids=lambda case: f"{case.name} {case.variant}".strip())
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, make_onnx: MakeOnnx, monkeypatch: pytest.MonkeyPatch
) -> Subject:
    request.param.stand_in(monkeypatch)
    form, paths = request.param.write(make_onnx(8), tmp_path)
    return Subject(request.param, form, paths, str(tmp_path / "engines"))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)


def test_it_tells_its_version(subject: Subject) -> None:
    assert base.load(subject.case.name).version()[0].isdigit()


def test_what_is_prepared_is_there_and_is_the_same_again(subject: Subject) -> None:
    first, second = subject.prepare(), subject.prepare()
    assert (first.format, first.paths) == (second.format, second.paths)
    assert all(Path(path).is_file() for path in first.paths.values())
    assert (first.build_ns is None) == (second.build_ns is None)
    assert (first.cached, second.cached) == (False, first.build_ns is not None)


def test_a_loaded_model_describes_its_input_and_runs(subject: Subject, image: np.ndarray) -> None:
    with subject.open() as model:
        assert (model.dtype, tuple(model.input_shape[1:])) == ("float32", (3, 8, 8))
        first, second = model.run(image), model.run(2 * image)
        assert [output.shape for output in first] == [(1, 8)]
        # What a run returned is the caller's: the next run must not write over it.
        assert not np.array_equal(first[0], second[0])
        np.testing.assert_array_equal(model.run(image)[0], first[0])


def test_two_models_run_side_by_side_and_can_be_loaded_again(subject: Subject, image: np.ndarray) -> None:
    with subject.open() as one, subject.open() as other:
        np.testing.assert_array_equal(one.run(image)[0], other.run(image)[0])
    with subject.open() as again:
        assert again.run(image)[0].shape == (1, 8)


def test_device_times_are_one_for_each_run_or_none_at_all(subject: Subject, image: np.ndarray) -> None:
    with subject.open() as model:
        for _ in range(3):
            model.run(image)
        times = model.device_times_ns()
        assert times is None or [len(column) for column in times] == [3] * 4
        assert times is None or model.device_times_ns() == base.DeviceTimes([], [], [], [])


def test_every_node_of_a_profile_has_a_time(subject: Subject, image: np.ndarray, tmp_path: Path) -> None:
    prepared = subject.prepare()
    if not subject.case.profiles:
        with pytest.raises(wire.AgentFailure, match="cannot tell the time of single nodes"):
            base.open_profiled(prepared.format, prepared.paths, subject.options(), str(tmp_path))
        return
    with base.open_profiled(prepared.format, prepared.paths, subject.options(), str(tmp_path)) as model:
        for _ in range(4):
            model.run(image)
        nodes = model.node_times(2)
    assert nodes
    assert all(node.name and node.latency_ns >= 0 for node in nodes)


def test_every_setting_has_a_default_that_it_would_take(subject: Subject) -> None:
    resolved = base.resolve_settings(subject.options())
    known = base.load(subject.case.name).SETTINGS
    assert set(resolved) == set(known)
    given = {name: value for name, value in resolved.items() if value is not None}
    assert base.resolve_settings(subject.options(**given)) == resolved


@pytest.mark.parametrize("settings", [{"no_such_setting": 1}])
def test_an_unknown_setting_is_a_bad_request_that_names_those_there_are(subject: Subject, settings: Any) -> None:
    for call in (subject.prepare, lambda **own: base.open_model("onnx", {}, subject.options(**own))):
        with pytest.raises(wire.AgentFailure, match=r"has no setting 'no_such_setting'; there are: ") as caught:
            call(**settings)
        assert caught.value.kind == wire.BAD_REQUEST


def test_another_format_is_a_missing_capability(subject: Subject) -> None:
    with pytest.raises(wire.AgentFailure, match="'caffe'") as caught:
        base.open_model("caffe", {"model": "x"}, subject.options())
    assert caught.value.kind == wire.CAPABILITY_MISSING


def test_a_file_that_is_no_model_is_one_clear_line(subject: Subject, tmp_path: Path) -> None:
    for path in subject.paths.values():
        Path(path).write_bytes(b"GIF89a")
    with pytest.raises(wire.AgentFailure) as caught, subject.open():
        pass
    assert caught.value.kind == wire.BAD_MODEL
    assert "\n" not in caught.value.message
    assert str(tmp_path) not in caught.value.message
