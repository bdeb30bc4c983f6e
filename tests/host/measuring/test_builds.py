"""Several builds of one model, with the real agent and a stand-in of TensorRT whose builds differ in speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import quick_measuring

from scbp_host.device.client import DeviceClient, open_device
from scbp_host.domain.measurement import Measurement
from scbp_host.errors import UsageError
from scbp_host.measuring.agreement import ratio_over_builds
from scbp_host.measuring.builds import Builds, builds_wanted, measure_builds, require_builds, with_builds
from scbp_host.measuring.session import MeasuringSession
from scbp_host.profiles import load_profile

QUICK = replace(quick_measuring.QUICK, blocks=2)

# Each build of the candidate is 8 ms slower than the one before. What runs a model, runs it out of the engine.
BOARD = """
import sys, time
import onnx, tensorrt_standin
from gpu_standin import Gpu, pycuda_modules

build = tensorrt_standin._Builder.build_serialized_network
load = tensorrt_standin._Engine.__init__
run = tensorrt_standin._Context._run

def build_slower(self, network, config):
    model = onnx.load_model_from_string(network.own.content)
    model.doc_string = str(0.008 * counted())
    network.own.content = model.SerializeToString()
    return build(self, network, config)

def counted():
    with open(%r, "a+") as counter:
        counter.write("x")
        return counter.tell()

def load_slower(self, module, model, shape):
    load(self, module, model, shape)
    self.delay_s = float(onnx.load_model_from_string(model).doc_string)

def run_slower(self, addresses):
    time.sleep(self._engine.delay_s)
    run(self, addresses)

tensorrt_standin._Builder.build_serialized_network = build_slower
tensorrt_standin._Engine.__init__ = load_slower
tensorrt_standin._Context._run = run_slower
gpu = Gpu()
sys.modules.update(pycuda_modules(gpu), tensorrt=tensorrt_standin.Standin("8.2", gpu))
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceClient]:
    (tmp_path / "standin_board.py").write_text(BOARD % str(tmp_path / "builds"))
    for name in ("tensorrt", "pycuda"):
        (tmp_path / f"{name}.py").write_text("import standin_board")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    profile = replace(load_profile("local"), runtime="tensorrt", runtime_settings={}, workdir=str(tmp_path / "agent"))
    with open_device(profile) as client:
        yield client


def test_what_builds_differ_by_joins_the_interval(client: DeviceClient, make_onnx: Callable[..., bytes]) -> None:
    session = MeasuringSession(client, QUICK, client.options, make_onnx(8), None)
    first = session.measure(make_onnx(16), pack=False)
    assert isinstance(first, Measurement)
    assert builds_wanted(client, None) == 3
    built = measure_builds(session, make_onnx(16), first, builds_wanted(client, None))
    assert isinstance(built, Builds)
    ratios = [own.ratio.value for own in built.measurements]
    assert ratios == sorted(ratios)
    assert built.spread > 0.3
    whole = built.whole
    assert len(whole.builds) == 3
    assert whole.ratio.low < ratios[0] < ratios[2] < whole.ratio.high
    assert whole.candidate_blocks_ns == first.candidate_blocks_ns
    again = with_builds(replace(first, ratio=built.measurements[1].ratio), whole.builds)
    assert again.builds == (built.measurements[1].ratio, *whole.builds[1:])
    assert again.ratio == ratio_over_builds(again.builds)
    assert with_builds(first, ()) is first
    one = Builds((first,))
    assert one.whole is first


def test_where_nothing_is_built_one_is_enough(tmp_path: Path) -> None:
    with open_device(load_profile("local"), tmp_path / "agent") as client:
        assert builds_wanted(client, None) == 1
        with pytest.raises(UsageError, match="loads a model as it is"):
            require_builds(client)
