"""Bad input gets one clear line and the documented exit code, never a traceback."""

import json
import socket
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from scbp_host import pipeline
from scbp_host.cli import devices
from scbp_host.cli.main import run_command
from scbp_host.store import Store

TEMPLATE = """
    extends = "jetson-nano"

    [ssh]
    host = "jetson-nano.local"
"""


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    """An empty folder to work in, and a home without profiles."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def command(cwd, capsys):
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments):
        code = run_command([str(own) for own in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(command):
    """Run a command that must end with one ``error:`` line; return that line, and the whole of stderr."""

    def run(code, *arguments):
        ended, out, err = command(*arguments)
        assert ended == code, err
        assert out == ""
        assert "Traceback" not in err
        (line,) = [own for own in err.splitlines() if "error:" in own]
        assert err.startswith("error: ")
        return line, err

    return run


def unused_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def nothing_was_begun(cwd):
    return not (cwd / "runs" / "scbp.sqlite").exists()


def test_an_unknown_device_lists_the_known_and_the_nearest(refused, cwd):
    line, _ = refused(2, "run", "--device", "jetson-nan")
    assert "no device 'jetson-nan' (did you mean 'jetson-nano'?)" in line
    assert "known: jetson-agx-orin, " in line
    assert "raspberry-pi-zero-2w" in line
    assert nothing_was_begun(cwd)


def test_a_board_without_an_address_names_the_file_to_write_and_its_template(refused, cwd, tmp_path):
    line, err = refused(2, "run", "--device", "jetson-nano")
    path = tmp_path / "config" / "scbp" / "devices" / "jetson-nano.toml"
    assert line == f"error: device 'jetson-nano' has no address: expected [ssh] in {path}"
    assert f"write {path}:" in err
    assert TEMPLATE in err
    assert nothing_was_begun(cwd)


def test_a_missing_address_is_told_before_the_data_is_read(refused):
    line, _ = refused(2, "run", "--device", "jetson-nano", "--data", "absent/images")
    assert "has no address" in line


def test_an_unknown_model_lists_the_known_and_the_nearest(refused, cwd):
    line, _ = refused(2, "run", "--model", "resnet81")
    assert "no model 'resnet81' (did you mean 'resnet18'?)" in line
    assert nothing_was_begun(cwd)


@pytest.mark.parametrize("value", ["0", "1.5", "1,-0.5", "nan", "half"])
def test_ratios_outside_their_range_are_refused(refused, cwd, value):
    line, _ = refused(2, "run", f"--ratios={value}")
    assert line.startswith("error: --ratios: expected ")
    assert "(0, 1]" in line
    assert nothing_was_begun(cwd)


@pytest.mark.parametrize(
    ("text", "named"),
    [("ratios = [0.5", "expected TOML"), ("colour = 1", "key 'colour': unknown"), ("train = 'x'", "key 'train'")],
)
def test_a_broken_scbp_toml_names_itself(refused, cwd, text, named):
    (cwd / "scbp.toml").write_text(text)
    line, _ = refused(2, "run")
    assert line.startswith("error: scbp.toml: ")
    assert named in line


@pytest.mark.parametrize("data", ["absent/images", "empty", "file.txt", "unknown"])
def test_data_that_cannot_be_read_is_named(refused, cwd, data):
    (cwd / "empty").mkdir()
    (cwd / "file.txt").write_text("no images")
    line, err = refused(2, "run", "--data", data)
    assert data in line
    assert "one subfolder of images for each class" in err
    assert nothing_was_begun(cwd)


def test_an_image_that_is_not_one_is_named(refused, cwd):
    for label in ("cat", "dog"):
        (cwd / "pets" / label).mkdir(parents=True)
        for number in range(5):
            (cwd / "pets" / label / f"{number}.png").write_text("not an image")
    line, _ = refused(2, "run", "--data", "pets")
    assert "pets/cat/0.png: not a readable image" in line


def test_weights_of_another_model_are_refused_before_the_device_is_troubled(refused, cwd):
    (cwd / "w.safetensors").write_bytes(b"no tensors here")
    line, _ = refused(2, "run", "--weights", "w.safetensors")
    assert "w.safetensors: not a readable safetensors file" in line
    assert nothing_was_begun(cwd)


@pytest.mark.parametrize("shape", ["32x32", "3x0x32", "axbxc"])
def test_an_input_shape_is_three_sizes(refused, shape):
    line, _ = refused(2, "run", "--input-shape", shape)
    assert "--input-shape: expected CxHxW" in line


def test_a_text_file_is_not_an_onnx_model(refused, cwd):
    (cwd / "notes.onnx").write_text("These are my notes on pruning.\n" * 20)
    line, _ = refused(2, "measure", "notes.onnx")
    assert line.startswith("error: notes.onnx: not an ONNX model")


def test_half_an_onnx_model_is_none(refused, cwd, make_onnx):
    content = make_onnx()
    (cwd / "half.onnx").write_bytes(content[: len(content) // 2])
    line, _ = refused(2, "measure", "half.onnx")
    assert line.startswith("error: half.onnx: not an ONNX model")


def test_a_model_that_keeps_its_weights_elsewhere_is_refused_with_the_remedy(refused, cwd, make_onnx):
    model = onnx.load_model_from_string(make_onnx())
    onnx.save_model(model, "split.onnx", save_as_external_data=True, size_threshold=0)
    written = onnx.load("split.onnx", load_external_data=False)
    assert any(own.data_location == TensorProto.EXTERNAL for own in written.graph.initializer)
    line, err = refused(2, "measure", "split.onnx")
    assert "split.onnx: keeps its weights in other files" in line
    assert "save_as_external_data=False" in err


def test_a_model_that_is_not_there_is_named(refused):
    line, _ = refused(2, "measure", "absent.onnx")
    assert line == "error: absent.onnx: cannot be read (No such file or directory)"


def test_rank_and_report_without_a_store_say_how_to_get_one(refused, cwd):
    for verb in ("rank", "report"):
        line, err = refused(2, verb)
        assert line == "error: runs/scbp.sqlite: there is no store"
        assert "scbp-host run --device local" in err
    assert not (cwd / "runs").exists()


def test_an_unknown_run_names_the_nearest(refused, cwd):
    with Store.open(cwd / "runs" / "scbp.sqlite") as store:
        store.create_run("20260101-local-ab12", {"config": {}, "command": []})
    line, _ = refused(2, "rank", "20260101-local-ab13")
    assert "no run '20260101-local-ab13' (did you mean '20260101-local-ab12'?)" in line


def test_an_empty_store_says_there_is_no_run(refused, cwd):
    Store.open(cwd / "runs" / "scbp.sqlite").close()
    line, _ = refused(2, "report")
    assert "no run yet" in line


def test_rank_does_not_read_the_next_runs_configuration(refused, cwd):
    (cwd / "scbp.toml").write_text("colour = 1")
    line, _ = refused(2, "rank", "--latency-budget", "1ms")
    assert "there is no store" in line


def test_a_board_that_refuses_the_connection_is_exit_3_with_the_next_command(refused, cwd, sshd):
    lines = [
        'extends = "local"',
        'transport = "ssh"',
        "[ssh]",
        'host = "127.0.0.1"',
        f"port = {unused_port()}",
        'user = "me"',
        f'host_key = "{sshd.host_keys["ssh-ed25519"]}"',
        f'key = "{sshd.key}"',
    ]
    Path("board.toml").write_text("\n".join(lines))
    for arguments in (("devices", "probe", "board.toml"), ("run", "--device", "board.toml")):
        line, err = refused(3, *arguments)
        assert line.startswith("error: board: ")
        assert "hint: run: scbp-host devices probe" in err
        assert nothing_was_begun(cwd)


def test_a_bug_is_70_and_keeps_its_traceback_in_a_file(command, cwd, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("index [0] is out of range")

    monkeypatch.setattr(pipeline, "run", broken)
    code, out, err = command("run")
    assert code == 70
    assert out == ""
    assert "internal error: RuntimeError: index [0] is out of range" in err
    assert "Traceback" not in err
    assert str(cwd / "scbp-error.log") in err
    log = (cwd / "scbp-error.log").read_text()
    assert log.startswith("Traceback")
    assert "index [0] is out of range" in log


def test_a_bug_in_a_folder_that_cannot_be_written_is_told_all_the_same(command, cwd, monkeypatch, tmp_path):
    (cwd / "scbp-error.log").mkdir()  # not even root can write a file there
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "list_profiles", lambda: 1 / 0)
    code, _, err = command("devices", "list")
    assert code == 70
    assert str(tmp_path / "scbp-error.log") in err
    assert "ZeroDivisionError" in (tmp_path / "scbp-error.log").read_text()


def test_an_interrupt_is_130_and_says_how_to_go_on(command, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    code, out, err = command("run")
    assert code == 130
    assert out == ""
    assert "error: interrupted" in err
    assert "--resume" in err


@pytest.mark.parametrize(
    "arguments", [("run", "--nonsense"), ("nonsense",), ("measure",), ("run", "--train", "many"), ("devices", "x")]
)
def test_a_wrong_command_line_is_exit_2(command, arguments):
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert err
    assert "Traceback" not in err
    assert "internal error" not in err


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "-h")])
def test_help_and_version_are_exit_0(command, arguments):
    code, out, _ = command(*arguments)
    assert code == 0
    assert out


def test_devices_as_json_is_json_on_stdout_alone(command):
    code, out, err = command("devices", "list", "--json")
    assert (code, err) == (0, "")
    profiles = {own["name"]: own for own in json.loads(out)}
    assert set(profiles) >= {"jetson-nano", "jetson-orin-nano", "local", "raspberry-pi-4", "raspberry-pi-5"}
    assert profiles["jetson-nano"]["transport"] == "ssh"


def test_devices_as_a_table_says_which_board_has_no_address(command):
    code, out, _ = command("devices", "list")
    assert code == 0
    assert "not configured" in out


def test_a_task_is_looked_for_where_scbp_is_started(refused, cwd, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "own_task_here.py").write_text("def task(input_shape):\n    return 1\n")
    line, err = refused(2, "run", "--data", "own_task_here:task")
    assert "data 'own_task_here:task': expected a CustomTask, got int" in line
    assert "docs/data.md" in err
    assert nothing_was_begun(cwd)
