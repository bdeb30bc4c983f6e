"""Having a board to oneself: who asks for it, waiting until it is free, and holding its clocks."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from scbp_agent import wire
from scbp_host.device.connection import AgentConnection
from scbp_host.domain.deadline import Deadline
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import BoardBusy, DeviceError, ProtocolError

T = TypeVar("T")

# `devices lock` sets it for the command that it runs, which then has the board as well.
LENT_VARIABLE = "SCBP_LOCK_SESSION"

# How often a board that is in use is asked again.
POLL_S = 1.0
# Ending an agent of our own whose connection was lost takes the board up to 90 s.
_ANSWER_S = 120.0


class Reservation:
    """One client's claim to a board, which outlives its connections.

    Args:
        device: the device's name, for messages.
        purpose: what others read while they wait.
        wait_s: how long to wait while another session has the board.
        on_wait: told who has it, once for each wait.

    Attributes:
        clocks: what came of :meth:`hold_clocks` on the latest connection; None where it was not called.
        told: what the board put right when we took it, one line each.
    """

    def __init__(self, device: str, purpose: str, wait_s: float, on_wait: Callable[[str], None]) -> None:
        owner = f"{_user()}@{socket.gethostname()}"
        lent = os.environ.get(LENT_VARIABLE)
        self.clocks: wire.ClocksResult | None = None
        self.told: list[str] = []
        self._claim = wire.LockClaim(owner, os.getpid(), purpose, secrets.token_hex(8), lent)
        self._device = device
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._plan: wire.ClocksPlan | None = None

    def take(self, connection: AgentConnection) -> wire.LockHolder:
        """Take the board's lock, or find that we have it; returns what others see.

        Raises:
            BoardBusy: another session has it, and kept it for ``wait_s``; says who, since when and what for.
            DeviceError: the connection was lost, or the agent cannot lock.
        """
        taken = self._ask_until_free(connection)
        self.told += [str(warning) for warning in taken.get("warnings", ())]
        return self._read(lambda: wire.lock_holder(wire.field(taken, "holder", dict)))

    def _ask_until_free(self, connection: AgentConnection) -> dict[str, Any]:
        deadline, waiting = Deadline.after(self._wait_s), False
        while True:
            taken = connection.request(wire.LOCK, wire.to_wire(self._claim), _ANSWER_S)
            if not isinstance(taken, Failure):
                return taken
            if taken.kind is not FailureKind.BOARD_BUSY:
                raise DeviceError(f"{self._device}: cannot lock the board: {taken.message}", taken.hint)
            if deadline.expired:
                raise BoardBusy(f"{self._device}: {taken.message}", taken.hint)
            if not waiting:
                self._on_wait(f"{self._device}: {taken.message}; waiting for it")
                waiting = True
            time.sleep(min(POLL_S, deadline.remaining_s()))

    def hold_clocks(self, connection: AgentConnection, plan: wire.ClocksPlan) -> wire.ClocksResult:
        """Have the agent hold the board's clocks; raises DeviceError where it cannot even try."""
        held = connection.request(wire.LOCK_CLOCKS, wire.to_wire(plan), _ANSWER_S)
        if isinstance(held, Failure):
            raise DeviceError(f"{self._device}: cannot hold the clocks: {held.message}", held.hint)
        self._plan = plan
        self.clocks = self._read(lambda: wire.clocks_result(held))
        return self.clocks

    def renew(self, connection: AgentConnection) -> None:
        """Do on a new connection what was done on the last; raises as :meth:`take` and :meth:`hold_clocks`."""
        self.take(connection)
        if self._plan is not None:
            self.hold_clocks(connection, self._plan)

    def put_clocks_back(self, connection: AgentConnection) -> list[str]:
        """Have the agent put the clocks back where it holds them; returns what failed, a lost connection included."""
        # In the middle of an answer (Ctrl-C) nothing can be asked: the agent does it by itself when we are gone.
        if self._plan is None or not connection.is_idle:
            return []
        try:
            done = connection.request(wire.RESTORE_CLOCKS, {}, _ANSWER_S)
        except DeviceError as error:
            return [f"{error}; the clocks are put back by the agent itself, or by the next connection"]
        problems = [done.message] if isinstance(done, Failure) else done.get("warnings", [])
        return [f"{self._device}: {problem}" for problem in problems]

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except wire.WireError as error:
            raise ProtocolError(f"{self._device}: the agent's answer is not the protocol's: {error}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
