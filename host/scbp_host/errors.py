"""Every error a user can meet, with its exit code.

::

    ScbpError              70  internal error
    ├── UsageError          2  a flag, a file or a name is wrong
    │   ├── ConfigError         scbp.toml, a profile: names the file, the key and what was expected
    │   ├── UnknownNameError    not found; lists what exists and the nearest
    │   ├── DataError           a data set cannot be read
    │   ├── ModelError          a model cannot be read, or cannot be derived from
    │   └── StoreError          a store of another schema, a run that is not there
    ├── DeviceError         3  the board or the way to it
    │   ├── DeviceUnreachable   no connection, or the connection was lost (transient)
    │   ├── LoginError          the board refused the user or the key
    │   ├── HostKeyError        the host key is unknown or has changed
    │   ├── ProtocolError       the agent speaks another version, or something that is not the protocol
    │   ├── DeviceTimeout       no answer within the deadline (transient)
    │   ├── BoardBusy           another session has the board; says who, since when and what for (transient)
    │   └── CapabilityError     the board lacks a runtime, or a sensor, that the run needs
    └── InfeasibleError     4  nothing meets the budgets; names the nearest miss

A measurement, an export or a training that fails is not an exception but a value:
:class:`scbp_host.domain.outcome.Failure`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_DEVICE = 3
EXIT_INFEASIBLE = 4
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class ScbpError(Exception):
    """One clear line that names the thing and what was expected, and the next command to try.

    Args:
        message: one line.
        hint: what to do next, ideally a command; may be empty.
    """

    exit_code = EXIT_INTERNAL
    transient = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ScbpError):
    """A flag, a file or a name is wrong."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A configuration file is wrong; the message names file, key and what was expected."""


class UnknownNameError(UsageError):
    """A name that is in no table.

    Args:
        kind: what was looked for, e.g. ``device``.
        name: the name given.
        known: the names that exist.
        hint: the next command to try.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        choices = sorted(known)
        near = difflib.get_close_matches(name, choices, n=1)
        nearest = f" (did you mean {near[0]!r}?)" if near else ""
        super().__init__(f"no {kind} {name!r}{nearest}; known: {', '.join(choices)}", hint)


class DataError(UsageError):
    """A data set cannot be read."""


class ModelError(UsageError):
    """A model cannot be read, or no smaller network can be derived from it."""


class StoreError(UsageError):
    """The store is of another schema, or does not hold what was asked for."""


class DeviceError(ScbpError):
    """The board or the way to it."""

    exit_code = EXIT_DEVICE


class DeviceUnreachable(DeviceError):
    """No connection, or the connection was lost."""

    transient = True


class LoginError(DeviceError):
    """The board refused the user or the key; another try would be refused as well."""


class HostKeyError(DeviceError):
    """The board's host key is unknown or has changed."""


class ProtocolError(DeviceError):
    """The agent speaks another protocol version, or something that is not the protocol."""


class DeviceTimeout(DeviceError):
    """No answer within the deadline."""

    transient = True


class BoardBusy(DeviceError):
    """Another session has the board."""

    transient = True


class CapabilityError(DeviceError):
    """The board lacks a runtime, or a sensor, that the run needs."""


class InfeasibleError(ScbpError):
    """Nothing meets the budgets."""

    exit_code = EXIT_INFEASIBLE
