"""How to get what is missing, in the words of the board's own package manager."""

import os
import sys
import sysconfig
from typing import Dict

from scbp_agent import identity
from scbp_agent.probing import Source

# Names people ask for before their time.
COMING = {"tensorrt": "comes with a later release of scbp"}


def coming(source: Source) -> Dict[str, str]:
    """Return why each runtime of COMING cannot be used here, and whether its library is here already."""
    return {name: "%s; %s" % (reason, _tensorrt(source)) for name, reason in COMING.items()}


def _tensorrt(source: Source) -> str:
    version = identity.libraries().get("tensorrt")
    if version:
        return "its library is here: %s" % version
    if identity.l4t(source):
        # JetPack's own packages; the bindings are for the system's Python alone.
        return "its library is not here either: sudo apt-get install nvidia-jetpack python3-libnvinfer"
    return "its library needs an NVIDIA GPU"


def pip_hint(*packages: str) -> str:
    """Return the command that installs ``packages`` for the Python that runs this agent."""
    python, before = sys.executable, ""
    if _is_managed():
        # Debian 12 and later refuse pip outside of a virtual environment.
        python, before = "~/scbp-python/bin/python", sys.executable + " -m venv ~/scbp-python && "
    install = python + " -m pip install "
    if sys.version_info >= (3, 7):
        return before + install + " ".join(packages)
    # JetPack 4: the newest onnxruntime for Python 3.6 is 1.10.0, whose manylinux2014 wheels Ubuntu 18.04's own pip does
    # not find; numpy 1.19.5 dies of SIGILL on the Jetson Nano.
    last = {"onnxruntime": "onnxruntime==1.10.0", "numpy": "numpy==1.19.4"}
    return install + "pip==21.3.1 && " + install + " ".join(last.get(package, package) for package in packages)


def _is_managed() -> bool:
    in_venv = sys.prefix != sys.base_prefix
    return not in_venv and os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
