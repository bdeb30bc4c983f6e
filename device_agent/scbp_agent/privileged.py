"""Running the vendors' programs as root: through ``sudo -n``, without a shell, under a deadline."""

import contextlib
import os
import subprocess
from typing import List

from scbp_agent.probing import Source

SUDO = "/usr/bin/sudo"
# jetson_clocks takes seconds; so may a power mode that switches cores off.
DEADLINE_S = 30.0


class Refused(Exception):
    """The board does not let us, and why."""


class NotAllowed(Refused):
    """sudo asks for a password, or there is none: nothing else will go either."""


def run_as_root(source: Source, program: str, *arguments: str, text: str = "") -> str:
    """Return what a program prints, its errors included.

    Args:
        source: the board.
        program: its full path.
        arguments: its arguments.
        text: its stdin, which ends with it: a program that asks for more gets no answer.

    Raises:
        NotAllowed: sudo asks for a password.
        Refused: it is not there, it failed, or it takes too long.
    """
    path = source.root + program
    if not os.access(path, os.X_OK):
        raise Refused("%s is not on this board" % program)
    process = _start(_as_root(source) + [path, *arguments], program)
    output = _output_of(process, program, text)
    if process.returncode != 0 and output.startswith("sudo:"):
        raise NotAllowed("sudo -n %s: %s; docs/devices.md lists the rights it takes" % (program, output[-300:]))
    if process.returncode != 0:
        raise Refused("%s: %s" % (program, output[-300:] or "exit status %d" % process.returncode))
    return output


def _start(command: List[str], program: str) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise Refused("%s cannot be started: %s" % (program, error))


def _output_of(process: "subprocess.Popen[bytes]", program: str, text: str) -> str:
    """Wait until it has ended, and return what it printed."""
    try:
        return process.communicate(text.encode("utf-8"), DEADLINE_S)[0].decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        raise Refused("%s did not end within %g s" % (program, DEADLINE_S))
    except BaseException:
        # A signal ends this session: what is under way must be done before it is undone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(DEADLINE_S)
        raise


def _as_root(source: Source) -> List[str]:
    if os.access(source.root + SUDO, os.X_OK):
        return [source.root + SUDO, "-n"]
    if os.geteuid() != 0:
        raise NotAllowed("there is no %s, and the login is not root" % SUDO)
    return []
