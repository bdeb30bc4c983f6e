"""Lines and their fields: JSON in and out, each field checked."""

import json
from typing import Any, Dict, List, Optional


class WireError(Exception):
    """A line, or a field of it, that is not the protocol."""


class AgentFailure(Exception):
    """A typed failure on its way to the reply."""

    def __init__(self, kind: str, message: str, hint: str = "", transient: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.transient = transient

    def to_wire(self) -> Dict[str, Any]:
        """Return the reply's ``error`` object."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint, "transient": self.transient}


def encode(message: Dict[str, Any]) -> bytes:
    """Return one line, newline included."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("utf-8") + b"\n"


def decode(line: bytes) -> Dict[str, Any]:
    """Parse one line; raises WireError for anything but one JSON object."""
    try:
        message = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise WireError("not a JSON line: %r (%s)" % (line[:80], error))
    if not isinstance(message, dict):
        raise WireError("expected a JSON object, got %r" % (line[:80],))
    return message


def field(data: Dict[str, Any], name: str, *kinds: type) -> Any:
    """Return ``data[name]``, checked to be of one of ``kinds``; raises WireError naming the field."""
    if name not in data:
        raise WireError("field %r is missing" % name)
    value = data[name]
    # bool is an int to isinstance, but never to this protocol.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise WireError("field %r: expected %s, got %r" % (name, wanted, value))
    return value


def to_wire(message: Any) -> Any:
    """Turn a message (NamedTuples, lists, dicts of plain values) into JSON values."""
    if hasattr(message, "_asdict"):
        return {name: to_wire(value) for name, value in message._asdict().items()}
    if isinstance(message, dict):
        return {name: to_wire(value) for name, value in message.items()}
    if isinstance(message, (list, tuple)):
        return [to_wire(value) for value in message]
    return message


def sha256_field(data: Dict[str, Any], name: str) -> str:
    """Return ``data[name]``, checked to be a SHA-256: it becomes a file name on the board. Raises WireError."""
    value = str(field(data, name, str))
    if len(value) != 64 or any(letter not in "0123456789abcdef" for letter in value):
        raise WireError("field %r: expected a SHA-256 in lower-case hex, got %r" % (name, value[:80]))
    return value


def positive(data: Dict[str, Any], name: str) -> int:
    """Return ``data[name]``, checked to be an integer above 0; raises WireError naming the field."""
    value = int(field(data, name, int))
    if value <= 0:
        raise WireError("field %r: expected a positive integer, got %r" % (name, value))
    return value


def optional_positive(data: Dict[str, Any], name: str) -> Optional[int]:
    """Return ``data[name]`` as :func:`positive` does, or None where it is null or not there."""
    return None if data.get(name) is None else positive(data, name)


def samples(values: Any) -> List[int]:
    """Return durations in ns, checked to be positive integers, at least one; raises WireError."""
    if not isinstance(values, list) or not values or not all(type(value) is int and value > 0 for value in values):
        raise WireError("expected a list of positive integers (ns), got %r" % (values,))
    return values
