"""A runtime that does its worst, as its model's file says: the test puts it beside the agent's own, as any runtime is
added: one module, one line in the table.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

from scbp_agent.runtimes import base, libraries

LIBRARIES = ("json",)
SETTINGS = {}
# How many builds of this behaviour it takes to succeed.
KILLS = {"build killed twice": 2}


def version():
    return "chaos"


def max_opset():
    return None


def prepare(format_name, paths, options, cache_folder, killed):
    behaviour = Path(paths["model"]).read_text()
    if behaviour.startswith("build ") and killed < KILLS.get(behaviour, 100):
        ACTS[behaviour[len("build ") :]]()
    notes = [f"killed {killed} times"] if killed else []
    return base.Prepared(format_name, paths, 1000, False, ["built by chaos", *notes])


def open_model(format_name, paths, options):
    return ChaosModel(paths["model"])


class ChaosModel(base.Model):
    def __init__(self, path):
        self._path = path

    def __enter__(self):
        self.input_shape, self.dtype = (1, 2), "float32"
        self._behaviour = Path(self._path).read_text()
        if self._behaviour.startswith("load "):
            ACTS[self._behaviour[len("load ") :]]()
        return self

    def __exit__(self, *_exception):
        pass

    def run(self, array):
        if self._behaviour.startswith("run "):
            ACTS[self._behaviour[len("run ") :]]()
        return [array * 2]


def flood():
    for descriptor in (1, 2):
        left = b"x" * (3 * 1024**2)
        while left:
            left = left[os.write(descriptor, left) :]


def chatter():
    print("hello from Python")
    sys.stdout.flush()
    ctypes.CDLL(None).puts(b"hello from C")
    ctypes.CDLL(None).fflush(None)


def never_end():
    while True:
        signal.pause()


def spin():
    while True:
        pass


def leave_a_child():
    """Start a process in a session of its own that keeps the worker's pipes open, and crash."""
    if os.fork() == 0:
        os.setsid()
        signal.pause()
    os._exit(5)


def take_10_gigabytes():
    libraries.require_numpy().ones(10 * 1024**3 // 8)


ACTS = {
    "segfault": lambda: ctypes.string_at(0),
    "leave": lambda: os._exit(3),
    "abort": os.abort,
    "killed twice": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "10 GB": take_10_gigabytes,
    "never end": never_end,
    "spin": spin,
    "flood": flood,
    "chatter": chatter,
    "leave a child": leave_a_child,
}
