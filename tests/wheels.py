"""Wheels that a few tests need and nothing else does, installed where they are missing.

Each set goes into a folder of its own, below the user's cache: NVIDIA's libraries take 100 to 220 MB, and the host
never needs them.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSTALL_S = 600


@functools.cache
def installed(name: str, *wheels: str) -> Path:
    """Return the folder that holds these wheels; installs them the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scbp" / "tests"
    folder = cache / f"{name}-cp{sys.version_info.major}{sys.version_info.minor}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Several processes of one test run come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(folder, wheels)
    return folder


def _install(folder: Path, wheels: tuple[str, ...]) -> None:
    """Install beside, then rename: an installation that was interrupted must not look like one."""
    beside = folder.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)
    # Their declared dependencies are packages that download from elsewhere.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--target", beside, *wheels], check=True, timeout=_INSTALL_S)
    beside.rename(folder)
