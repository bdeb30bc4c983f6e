"""One conversation with one agent: requests and replies over a channel."""

from __future__ import annotations

import logging
from typing import Any

from scbp_agent import wire
from scbp_host.domain.deadline import Deadline
from scbp_host.domain.device import DeviceInfo
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import DeviceError, ProtocolError
from scbp_host.transport.base import Channel, probe_hint

_LOG = logging.getLogger(__name__)

# The agent imports each runtime once to tell its version, for which it allows 120 s on a slow card.
_HELLO_S = 150.0


class AgentConnection:
    """A running agent.

    Args:
        device: the device's name, for messages.
        channel: the agent's stdin and stdout.
    """

    def __init__(self, device: str, channel: Channel) -> None:
        self._device = device
        self._channel = channel
        self._last_id = 0
        self._answered = True

    @property
    def is_idle(self) -> bool:
        """Whether every request was answered, so that the next answer is the next request's."""
        return self._answered

    def hello(self) -> DeviceInfo:
        """Introduce ourselves, which comes before all else, and return what the board says of itself.

        Raises:
            ProtocolError: the agent speaks another protocol version, or not the protocol.
            DeviceError: as for :meth:`request`.
        """
        facts = self.request(wire.HELLO, {"protocol_version": wire.PROTOCOL_VERSION}, _HELLO_S)
        if isinstance(facts, Failure):
            raise self._refused(facts)
        try:
            return _device_info(facts)
        except wire.WireError as error:
            raise self._not_the_protocol(f"hello: {error}") from error

    def request(self, method: str, params: dict[str, Any], timeout_s: float) -> dict[str, Any] | Failure:
        """Ask, and return the result, or the agent's typed failure.

        Raises:
            DeviceUnreachable: the agent is gone.
            DeviceTimeout: no reply in ``timeout_s``; the connection is of no more use.
            ProtocolError: the reply is not the protocol.
        """
        deadline = Deadline.after(timeout_s)
        self._last_id += 1
        self._answered = False
        self._channel.send(wire.encode({"id": self._last_id, "method": method, "params": params}), deadline)
        try:
            reply = self._reply(deadline)
            self._answered = True
            return _outcome(reply)
        except wire.WireError as error:
            raise self._not_the_protocol(f"{method}: {error}") from error

    def close(self) -> None:
        """End the agent."""
        self._channel.close()

    def _reply(self, deadline: Deadline) -> dict[str, Any]:
        """Return the reply to the last request; notes on the way go to the log."""
        while True:
            message = wire.decode(self._channel.receive(deadline))
            if message.get("id") != self._last_id:
                raise wire.WireError(f"expected the reply to request {self._last_id}, got {str(message)[:200]}")
            if "note" not in message:
                return message
            _LOG.info("%s: %s", self._device, message["note"])

    def _refused(self, failure: Failure) -> DeviceError:
        if failure.kind is FailureKind.PROTOCOL_MISMATCH:
            return self._not_the_protocol(failure.message)
        hint = failure.hint or probe_hint(self._device)
        return DeviceError(f"{self._device}: the agent cannot say what the board is: {failure.message}", hint)

    def _not_the_protocol(self, detail: str) -> ProtocolError:
        hint = f"a login on the board must print nothing, and its agent must be ours; {probe_hint(self._device)}"
        return ProtocolError(f"{self._device}: the agent does not speak our protocol: {detail}", hint)


def _outcome(reply: dict[str, Any]) -> dict[str, Any] | Failure:
    if wire.field(reply, "ok", bool):
        result: dict[str, Any] = wire.field(reply, "result", dict)
        return result
    error = wire.field(reply, "error", dict)
    wire.field(error, "kind", str)
    wire.field(error, "message", str)
    return Failure.from_json(error)


def _device_info(facts: dict[str, Any]) -> DeviceInfo:
    return DeviceInfo(
        agent_sha256=wire.field(facts, "agent_sha256", str),
        protocol_version=wire.field(facts, "protocol_version", int),
        board=wire.field(facts, "board", str),
        os_release=wire.field(facts, "os_release", str),
        python=wire.field(facts, "python", str),
        runtimes=wire.field(facts, "runtimes", dict),
        compatible=tuple(wire.field(facts, "compatible", list)),
        facts=facts,
    )
