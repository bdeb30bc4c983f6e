"""TensorRT-RTX's builder and ONNX parser, which need no GPU: two wheels, installed where they are missing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from wheels import installed

VERSION = "1.7.1.116"
_WHEELS = (f"tensorrt-rtx-cu12-bindings=={VERSION}", f"tensorrt-rtx-cu12-libs=={VERSION}")


def rtx_folder() -> Path:
    """Return the folder to put on sys.path; installs the wheels the first time."""
    return installed(f"tensorrt-rtx-{VERSION}", *_WHEELS)


def rtx_bindings() -> ModuleType:
    """Return the imported ``tensorrt_rtx_bindings``; from then on it can be imported in this process by its name."""
    if str(rtx_folder()) not in sys.path:
        sys.path.append(str(rtx_folder()))
    return importlib.import_module("tensorrt_rtx_bindings")
