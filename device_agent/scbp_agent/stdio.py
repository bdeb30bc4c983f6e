"""Keeping the wire clean: no library's print between two replies, no request eaten by its input()."""

import os
import sys
from typing import BinaryIO


def claim_stdin() -> BinaryIO:
    """Return the real stdin for the wire, and leave an empty one to everybody else.

    It is not ``sys.stdin``: a thread that waits in that one would hold its lock when the interpreter shuts down.
    """
    wire_fd = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return os.fdopen(wire_fd, "rb")


def claim_stdout() -> BinaryIO:
    """Return the real stdout for the wire, and send everything else that writes to fd 1 to stderr.

    Works below Python's ``sys.stdout``, so that a C++ library's printf is turned away as well.
    """
    sys.stdout.flush()
    wire_fd = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(wire_fd, "wb")
