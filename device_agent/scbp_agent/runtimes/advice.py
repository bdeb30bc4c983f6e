"""How to get what is missing, in the words of the board's own package manager."""

import os
import sys
import sysconfig

from scbp_agent import identity
from scbp_agent.probing import Source

# JetPack 4: these are the newest for Python 3.6; numpy 1.19.5 dies of SIGILL on the Jetson Nano.
_LAST_FOR_36 = {"onnxruntime": "onnxruntime==1.10.0", "numpy": "numpy==1.19.4"}
# ncnn's model zoo alone needs what its wheels ask for; up to Python 3.8 that is OpenCV, which pip may have to compile.
_ALONE = ("ncnn",)


def tensorrt_hint(source: Source, name: str) -> str:
    """Return how this board gets TensorRT, or TensorRT-RTX (``tensorrt-rtx``)."""
    if name == "tensorrt-rtx":
        # Without --no-deps pip would fetch a package that downloads from elsewhere.
        wheels = ("--no-deps", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx-cu12-libs")
        return "on a PC with an NVIDIA GPU of the RTX kind: " + pip_hint(*wheels)
    if identity.l4t(source):
        # JetPack's own packages; the bindings are for the system's Python alone.
        return "sudo apt-get install nvidia-jetpack python3-libnvinfer, and the system's Python as the profile's"
    return "TensorRT needs an NVIDIA GPU; on a PC with one: " + pip_hint("tensorrt")


def pip_hint(*packages: str) -> str:
    """Return the command that installs ``packages`` for the Python that runs this agent."""
    python, before = sys.executable, ""
    if _is_managed():
        # Debian 12 and later refuse pip outside of a virtual environment.
        python, before = "~/scbp-python/bin/python", sys.executable + " -m venv ~/scbp-python && "
    install = python + " -m pip install "
    old = sys.version_info < (3, 7)
    names = {name: _LAST_FOR_36.get(name, name) if old else name for name in packages}
    steps = [install + " ".join(names[name] for name in packages if name not in _ALONE)]
    steps += [install + "--no-deps " + names[name] for name in packages if name in _ALONE]
    # Ubuntu 18.04's own pip does not find manylinux2014 wheels.
    return before + " && ".join(([install + "pip==21.3.1"] if old else []) + steps)


def _is_managed() -> bool:
    in_venv = sys.prefix != sys.base_prefix
    return not in_venv and os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
