"""Parts that several tests share: a real OpenSSH server, a board's Python, small models."""

from __future__ import annotations

import atexit
import functools
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rtx import rtx_bindings

_START_S = 20.0

_BOARDS = Path(__file__).parent / "data" / "boards"
_PROGRAMS = Path(__file__).parent / "data" / "programs"

# What boards have: from JetPack 4 to Raspberry Pi OS Trixie.
_BOARD_PYTHONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")

# Workers take whole files in this order (`make test`): one that takes minutes must not be the last to begin.
_LONGEST_FIRST = (
    "test_any_cnn.py",
    "test_pipeline.py",
    "test_wheel.py",
    "test_resume.py",
    "test_resume_training.py",
    "test_training_pool.py",
)

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
HostKey {folder}/host_ecdsa
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
SetEnv SCBP_LOCK_FOLDER={folder}
Subsystem sftp internal-sftp
"""


def pytest_configure() -> None:
    """One thread for torch in here and in what is started from here.

    Small networks gain nothing from a second one and lose much where another test wants the core; and the last bits of
    sums depend on the number of threads. torch reads it once, when the first test file imports it.

    And no verdict of hypothesis on how fast this machine is: where every core is taken, it would be one on the others.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    hypothesis.settings.register_profile(
        "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any-machine")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give every test a board of its own: the lock is for all sessions of a machine, and tests run side by side."""
    os.environ["SCBP_LOCK_FOLDER"] = tempfile.mkdtemp(prefix="lock-", dir=_lock_folders())


@functools.cache
def _lock_folders() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="scbp-locks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; leave out what needs a Python that is neither here nor required."""
    rank = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    left_out = [item for item in items if "oldest_python" in getattr(item, "fixturenames", ())]
    if left_out and _BOARD_PYTHONS[0] not in (*find_pythons(), *required_pythons()):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``python_version`` for every CPython of a board's that is here, or must be."""
    if "python_version" in metafunc.fixturenames:
        wanted = {*find_pythons(), *required_pythons()}
        metafunc.parametrize("python_version", sorted(wanted, key=_BOARD_PYTHONS.index))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the Pythons that the agent was not run under, where these tests were asked for."""
    reports = [own for stat in terminalreporter.stats.values() for own in stat if hasattr(own, "nodeid")]
    missing = [version for version in _BOARD_PYTHONS if version not in find_pythons()]
    if missing and any("test_agent_pythons.py" in own.nodeid for own in reports):
        terminalreporter.write_line(f"not run, for lack of an interpreter: the agent under Python {', '.join(missing)}")


def required_pythons() -> list[str]:
    """Return the versions whose absence is a failure, from SCBP_REQUIRE_PYTHONS: "3.6 3.8"."""
    return os.environ.get("SCBP_REQUIRE_PYTHONS", "").split()


@functools.cache
def find_pythons() -> dict[str, Path]:
    """Return an interpreter of each version that a board may have, from pyenv's versions and from PATH."""
    found = {}
    for version in _BOARD_PYTHONS:
        path = next((path for path in _candidates(version) if _is_version(path, version)), None)
        if path is not None:
            found[version] = path
    return found


def _candidates(version: str) -> Iterator[Path]:
    for root in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
        if root:
            yield from sorted(Path(root).glob(f"versions/{version}.*/bin/python{version}"))
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)


def _is_version(path: Path, version: str) -> bool:
    """Whether it runs and is what its name says; pyenv's shims stand for versions that are not there, too."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run(
            [path, "-I", "-c", program], check=False, capture_output=True, text=True, timeout=_START_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.strip() == version


def require_python(version: str) -> Path:
    """Return the interpreter; fails the test where there is none."""
    path = find_pythons().get(version)
    if path is None:
        pytest.fail(f"SCBP_REQUIRE_PYTHONS asks for Python {version}, and there is none: pyenv install {version}")
    return path


@pytest.fixture
def board_python(python_version: str) -> Path:
    """A bare interpreter, without numpy and without any runtime."""
    return require_python(python_version)


@pytest.fixture(scope="session")
def oldest_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JetPack 4's Python 3.6 in a virtual environment, with the packages that the agent names for it."""
    folder = tmp_path_factory.mktemp("oldest") / "venv"
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([require_python(_BOARD_PYTHONS[0]), "-m", "venv", folder], check=True)
    subprocess.run([*install, "pip==21.3.1"], check=True)
    subprocess.run([*install, "numpy==1.19.4", "onnxruntime==1.10.0"], check=True)
    return python


@dataclass(frozen=True)
class SshServer:
    """A running sshd. ``host_keys`` are its public keys by type; ``stranger`` is a key that it does not let in."""

    port: int
    user: str
    key: Path
    stranger: Path
    host_keys: dict[str, str]
    log: Path


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An OpenSSH server on loopback, with keys of its own and no privileges beyond those of the tests."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail("these tests talk to a real sshd: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host_ed25519", "host_ecdsa", "user", "stranger"):
        _generate_key(folder / name, "ecdsa" if name.endswith("ecdsa") else "ed25519")
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    if os.geteuid() == 0:
        # sshd's privilege separation, which it insists on as root, needs an empty folder.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = _write_sshd_config(program, folder)
    process, port = _start_sshd(program, config, folder / "log")
    public = (_public_key(folder / f"{name}.pub") for name in ("host_ed25519", "host_ecdsa"))
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    yield SshServer(
        port, user, folder / "user", folder / "stranger", {key.split()[0]: key for key in public}, folder / "log"
    )
    process.terminate()
    process.wait()


@pytest.fixture(scope="session")
def device_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board's Python: a virtual environment that holds onnxruntime and numpy, and nothing of the host's.

    The packages are links to those of this environment, so that it takes no download and no time.
    """
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in _with_dependencies("onnxruntime") | _with_dependencies("numpy"):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return folder / "bin" / "python"


WriteProfile = Callable[..., Path]


@pytest.fixture
def write_profile(sshd: SshServer, device_python: Path, tmp_path: Path) -> WriteProfile:
    """Write the profile of an SSH device that is ``sshd``; keywords replace single keys of its [ssh] table."""

    def write(name: str = "board", **ssh: object) -> Path:
        table = {
            "host": "127.0.0.1",
            "port": sshd.port,
            "user": sshd.user,
            "key": str(sshd.key),
            "host_key": sshd.host_keys["ssh-ed25519"],
        } | ssh
        lines = [
            'extends = "local"',
            'transport = "ssh"',
            f'python = "{device_python}"',
            f'workdir = "{tmp_path / "board"}"',
            "[ssh]",
            *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
        ]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_board(tmp_path: Path) -> Callable[..., str]:
    """Lay out one of tests/data/boards below a folder of the test's own, as the root that the agent reads."""

    def make(name: str) -> str:
        board = tomllib.loads((_BOARDS / f"{name}.toml").read_text(encoding="utf-8"))
        for path, text in board["files"].items():
            _write_under(tmp_path / name, path, text)
        for program, answers in board.get("programs", {}).items():
            _write_under(tmp_path / name, program, _script(answers)).chmod(0o755)
        return str(tmp_path / name)

    return make


@pytest.fixture
def make_clocks_board(make_board: Callable[..., str]) -> Callable[[str], Path]:
    """Lay out a board whose programs, run through a sudo of its own, really change its files; all its clocks move."""

    def make(name: str) -> Path:
        root = Path(make_board(name))
        jetson = ("usr/bin/jetson_clocks", "usr/sbin/nvpmodel") if name.startswith("jetson") else ()
        for program in map(Path, ("usr/bin/sudo", "usr/bin/tee", *jetson)):
            (root / program.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(_PROGRAMS / program.name, root / program)
        for least in (*root.glob("sys/class/devfreq/*/min_freq"), *root.glob("sys/**/scaling_min_freq")):
            least.write_text("100000\n", encoding="utf-8")
        for governor in root.glob("sys/**/scaling_governor"):
            governor.write_text("schedutil\n", encoding="utf-8")
        return root

    return make


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    """TensorRT-RTX's real bindings: its builder and parser run without a GPU."""
    return rtx_bindings()


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., bytes]:
    """Return a maker of small convolutional networks: (n, 3, 8, 8) -> (n, channels)."""
    return _make_onnx


def _write_under(root: Path, path: str, text: str) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _script(answers: dict[str, Any]) -> str:
    """A program that prints the answer to its first argument, and never ends where the board's does not."""
    cases = [f"{own}) cat <<'END'\n{text}\nEND\n;;" for own, text in answers.items() if isinstance(text, str)]
    end = "exec tail -f /dev/null" if answers.get("never_ends") else ""
    return "\n".join(["#!/bin/sh", 'case "$1" in', *cases, "esac", end, ""])


def _make_onnx(channels: int = 8, filler: bool = False) -> bytes:
    random = np.random.default_rng(channels)
    weights = random.standard_normal((channels, 3, 3, 3)).astype(np.float32)
    mixing = random.standard_normal((channels, channels, 3, 3)).astype(np.float32) / channels
    if filler:
        mixing = np.resize(random.standard_normal(64).astype(np.float32), mixing.shape)
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "mixing"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", channels])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(mixing, "mixing")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _generate_key(path: Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)


def _public_key(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split()[:2])


def _write_sshd_config(program: str, folder: Path) -> Path:
    config = folder / "sshd_config"
    text = _SSHD_CONFIG.format(folder=folder)
    # From 9.8 on sshd locks out an address after refused logins, and all of these tests share one address.
    config.write_text(text + "PerSourcePenalties no\n", encoding="utf-8")
    if subprocess.run([program, "-t", "-f", config], check=False, capture_output=True).returncode != 0:
        config.write_text(text, encoding="utf-8")
    return config


def _start_sshd(program: str, config: Path, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(5):
        port = _free_port()
        process = subprocess.Popen([program, "-D", "-f", config, "-p", str(port), "-E", log])
        if _says_banner(process, port):
            return process, port
        process.kill()
        process.wait()
    pytest.fail(f"sshd does not start: {log.read_text(encoding='utf-8')}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _says_banner(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server greets; False when it ended, e.g. because somebody else took the port meanwhile."""
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_START_S) as connection:
                return connection.recv(8).startswith(b"SSH-2.0")
        except ConnectionRefusedError:
            time.sleep(0.02)
    return False


def _with_dependencies(name: str) -> set[str]:
    """Return the distribution and those it requires without extras, by name."""
    names = {name}
    for requirement in importlib.metadata.requires(name) or ():
        if ";" not in requirement:
            names |= _with_dependencies(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return names
