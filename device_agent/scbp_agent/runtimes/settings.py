"""What a runtime can be told: each of its settings with a default and a check. None is ever ignored."""

from typing import Any, Callable, Dict, NamedTuple

from scbp_agent import wire

Setting = NamedTuple("Setting", [("default", Any), ("accepts", Callable[[Any], bool]), ("expected", str)])
Setting.__doc__ = """One key of ``RuntimeOptions.settings``; ``expected`` says in words what ``accepts`` takes."""


def choice(default: str, *others: str) -> Setting:
    """Return a setting that is one of a few words."""
    words = (default,) + others
    return Setting(default, lambda value: value in words, "one of " + ", ".join(words))


def flag(default: bool) -> Setting:
    """Return a setting that is on or off."""
    return Setting(default, lambda value: isinstance(value, bool), "true or false")


def count(default: Any, least: int = 0) -> Setting:
    """Return a setting that is an integer of at least ``least``; ``default`` may be None for one left open."""
    # A bool is an int to isinstance.
    return Setting(default, lambda value: type(value) is int and value >= least, "an integer of at least %d" % least)


def resolve(runtime: str, given: Dict[str, Any], known: Dict[str, Setting]) -> Dict[str, Any]:
    """Return every setting of ``known``: as given, or its default.

    Raises:
        AgentFailure: BAD_REQUEST naming the setting and what was expected.
    """
    for name, value in given.items():
        if name not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise wire.AgentFailure(
                wire.BAD_REQUEST, "%s has no setting %r; there are: %s" % (runtime, name, there_are)
            )
        if not known[name].accepts(value):
            message = "%s: setting %r: expected %s, got %r" % (runtime, name, known[name].expected, value)
            raise wire.AgentFailure(wire.BAD_REQUEST, message)
    return {name: given.get(name, setting.default) for name, setting in known.items()}
