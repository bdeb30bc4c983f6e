"""TensorRT-RTX's builder and ONNX parser, which need no GPU: two wheels, installed here where they are missing.

They go into a folder of their own, below the user's cache: their libraries take 220 MB, and the host never needs them.
"""

from __future__ import annotations

import fcntl
import functools
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

VERSION = "1.7.1.116"
_WHEELS = (f"tensorrt-rtx-cu12-bindings=={VERSION}", f"tensorrt-rtx-cu12-libs=={VERSION}")
_INSTALL_S = 600


@functools.cache
def rtx_folder() -> Path:
    """Return the folder to put on sys.path; installs the wheels the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scbp" / "tests"
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache / f"tensorrt-rtx-{VERSION}-{python}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Several processes of one test run come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(folder)
    return folder


def rtx_bindings() -> ModuleType:
    """Return the imported ``tensorrt_rtx_bindings``; from then on it can be imported in this process by its name."""
    if str(rtx_folder()) not in sys.path:
        sys.path.append(str(rtx_folder()))
    return importlib.import_module("tensorrt_rtx_bindings")


def _install(folder: Path) -> None:
    """Install beside, then rename: an installation that was interrupted must not look like one."""
    beside = folder.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)
    # Their declared dependency is a package that downloads from elsewhere.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--target", beside, *_WHEELS], check=True, timeout=_INSTALL_S)
    beside.rename(folder)
