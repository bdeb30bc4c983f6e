"""scbp-host measure with the real agent on this machine."""

import json
import sys
from pathlib import Path

import onnx
import pytest

from scbp_host.cli.main import run_command


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, make_onnx):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "small.onnx").write_bytes(make_onnx())

    def run(*arguments):
        code = run_command(["measure", *arguments])
        return code, *capsys.readouterr()

    return run


def test_layers_come_beside_the_latency_and_their_shares_add_up(command):
    code, out, err = command("small.onnx", "--layers", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["latency_p50_ms"] > 0
    assert {row["op_type"] for row in facts["layers"]} >= {"Conv", "Flatten"}
    assert sum(row["share"] for row in facts["layers"]) == pytest.approx(1.0)
    assert all(row["latency_ms"] >= 0 for row in facts["layers"])


def test_layers_as_a_table_say_what_they_are_worth(command):
    code, out, _ = command("small.onnx", "--layers")
    assert code == 0
    assert "only the shares count" in " ".join(out.split()), "wherever the lines break"
    assert "Flatten" in out


def test_without_the_flag_there_are_no_layers(command):
    _, out, _ = command("small.onnx", "--json")
    assert "layers" not in json.loads(out)


def test_the_phases_alone_are_told_and_never_summed(command):
    code, out, _ = command("small.onnx")
    assert code == 0
    assert [name in out for name in ("load", "inference", "warm load", "board MB")] == [True] * 4
    assert "none may be added to another" in " ".join(out.split())
    facts = json.loads(command("small.onnx", "--json")[1])
    assert [phase["name"] for phase in facts["phases"]] == ["load", "inference", "warm load"]
    assert facts["load_ms"] == facts["phases"][0]["ms"]
    assert (facts["rate_hz"], facts["missed_frames"], facts["build_s"]) == (None, None, None)


def test_a_cameras_rate_is_kept(command):
    facts = json.loads(command("small.onnx", "--rate", "200hz", "--json")[1])
    assert facts["rate_hz"] == pytest.approx(200.0)
    assert facts["missed_frames"] >= 0


@pytest.mark.parametrize("rate", ["30", "0hz", "fast", "30ms", "2000hz"])
def test_a_rate_that_is_none_is_one_clear_line(command, rate):
    code, out, err = command("small.onnx", "--rate", rate)
    assert (code, out) == (2, "")
    assert "--rate" in err
    assert "Traceback" not in err


@pytest.fixture
def ncnn_device(tmp_path):
    (tmp_path / "ncnn.toml").write_text('extends = "local"\nruntime = "ncnn"\n')
    return ["--device", "./ncnn.toml"]


def test_an_onnx_file_is_converted_for_a_device_that_runs_ncnn(command, ncnn_device):
    code, out, err = command("small.onnx", "--json", *ncnn_device)
    assert (code, err) == (0, "")
    assert json.loads(out)["latency_p50_ms"] > 0


def test_what_an_ncnn_device_cannot_do_is_one_line(command, ncnn_device, tmp_path, monkeypatch):
    (tmp_path / "det.onnx").write_bytes(_det())
    code, _, err = command("det.onnx", *ncnn_device)
    assert (code, "ncnn has no operator Det" in err) == (2, True), err
    code, _, err = command("small.onnx", "--layers", *ncnn_device)
    assert (code, "cannot tell the time of single nodes" in err) == (3, True), err
    monkeypatch.setitem(sys.modules, "pnnx", None)
    code, _, err = command("small.onnx", *ncnn_device)
    assert code == 2
    assert "pip install pnnx" in err


def _det():
    helper, flt = onnx.helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", flt, [1, 3, 4, 4])]
    outputs = [helper.make_tensor_value_info("y", flt, [1, 3])]
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"])], "det", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return model.SerializeToString()


def test_a_model_is_measured_in_other_precisions_beside_itself(command):
    code, out, err = command("small.onnx", "--precision", "int8,uint8", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert set(facts["precisions"]) == {"int8", "uint8"}
    assert all(own["latency_p50_ms"] > 0 for own in facts["precisions"].values())
    code, out, err = command("small.onnx", "--precision", "uint8")
    assert (code, err) == (0, "")
    assert "small.onnx in uint8" in out


def test_an_unknown_precision_is_one_line(command):
    code, _, err = command("small.onnx", "--precision", "fp8")
    assert code == 2
    assert "--precision: expected some of fp32, fp16, int8, uint8, got 'fp8'" in err


BOARD = """
import sys
from gpu_standin import Gpu, pycuda_modules
from tensorrt_standin import Standin

gpu = Gpu()
sys.modules.update(pycuda_modules(gpu), tensorrt=Standin("8.2", gpu))
"""


@pytest.fixture
def tensorrt_device(tmp_path, monkeypatch):
    """This machine with stand-ins of TensorRT 8.2 and pycuda for its agent."""
    for name, text in {
        "standin_board": BOARD,
        "tensorrt": "import standin_board",
        "pycuda": "import standin_board",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    (tmp_path / "jetson.toml").write_text('extends = "local"\nruntime = "tensorrt"\n')
    return ["--device", "./jetson.toml"]


def test_every_build_is_an_engine_of_its_own_and_is_measured(command, tensorrt_device, tmp_path):
    code, out, err = command("small.onnx", "--builds", "2", "--json", *tensorrt_device)
    assert code == 0, err
    facts = json.loads(out)
    assert len(facts["builds"]) == 2
    assert all(build["build_s"] > 0 for build in facts["builds"])
    ratios = [build["latency_ratio"] for build in facts["builds"]]
    assert facts["build_spread"] == pytest.approx(max(ratios) / min(ratios) - 1)
    assert len(list((tmp_path / "cache" / "scbp" / "agent" / "engines").glob("*.engine"))) == 2


def test_what_is_never_built_does_not_vary_by_it(command):
    code, out, err = command("small.onnx", "--builds", "2")
    assert (code, out) == (2, "")
    assert "onnxruntime loads a model as it is" in err


def test_it_stops_where_the_interval_is_narrow_and_says_so(command):
    code, out, err = command("small.onnx", "--ci-width", "90%", "--max-seconds", "60", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["sampling"]["stopped"] == "ci_width"
    assert facts["sampling"]["loads"] >= 16
    low, high = facts["latency_ratio_ci95"]
    assert high - low < 0.9 * facts["latency_ratio"]
    code, _, err = command("small.onnx", "--ci-width", "1")
    assert code == 2
    assert "--ci-width: " in err
    assert "e.g. '15%'" in err
