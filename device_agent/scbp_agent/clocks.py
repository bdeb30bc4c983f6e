"""Holding the board's clocks while a session measures, and putting them back whatever happens.

Before each change the way back is on disk, in ``clocks.json``. A session that ends puts everything back, in reverse; of
one that was killed the next session finds the file and does it. sudo's rights are all it takes (docs/devices.md).
"""

import os
import re
from typing import Any, List, NamedTuple

from scbp_agent import conditions, wire
from scbp_agent.durable import remove, sync
from scbp_agent.privileged import NotAllowed, Refused, run_as_root
from scbp_agent.probing import Source

RECORD_NAME = "clocks.json"

_NVPMODEL = "/usr/sbin/nvpmodel"
_JETSON_CLOCKS = "/usr/bin/jetson_clocks"
_TEE = "/usr/bin/tee"
_GOVERNORS = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"

Step = NamedTuple("Step", [("kind", str), ("subject", str), ("value", str)])
Step.__doc__ = """One change's way back: which kind (:data:`_UNDO`), of what, and the value it had."""


class Clocks(object):
    """The clocks of the board that a workdir belongs to; whoever changes them has the board's lock.

    Args:
        workdir: the agent's folder.
    """

    def __init__(self, workdir: str) -> None:
        self._workdir = workdir
        self._record = os.path.join(workdir, RECORD_NAME)
        self._steps: List[Step] = []

    @property
    def are_left_over(self) -> bool:
        """Whether a session that is dead, or could not put it back, has left a record."""
        return not self._steps and os.path.exists(self._record)

    def hold(self, plan: wire.ClocksPlan) -> wire.ClocksResult:
        """Hold the clocks as far as the board lets us; what it refuses is a warning, and the result says DVFS."""
        source, warnings = Source(), self.restore()
        if not warnings:
            # Otherwise a new record would take the place of what could not be put back.
            warnings = self._change(source, plan)
        policy = conditions.clock_policy(source)
        if policy == conditions.DVFS and not warnings:
            warnings.append("the clocks are held as the profile says, but some can still move")
        return wire.ClocksResult(policy, conditions.power_mode(source), warnings)

    def restore(self) -> List[str]:
        """Put back what the record says, last things first; returns what failed, which stays in the record."""
        source = Source()
        left: List[Step] = []
        problems: List[str] = []
        try:
            steps = self._read()
        except wire.WireError as error:
            return ["what the clocks were cannot be read, so they stay as they are: %s" % error]
        for step in reversed(steps):
            try:
                _UNDO[step.kind](source, step)
            except Refused as refusal:
                left.insert(0, step)
                problems.append(
                    "%s could not be put back to %s: %s" % (step.kind, step.value or "what it was", refusal)
                )
        self._steps = []
        if left:
            self._write(left)
        else:
            remove(self._record)
        return problems

    def _change(self, source: Source, plan: wire.ClocksPlan) -> List[str]:
        warnings = []
        # jetson_clocks holds what the active power mode allows, so the mode comes first. [NVIDIA's Jetson Linux guide]
        for change in (self._store, self._change_mode, self._hold_jetson, self._hold_governor):
            try:
                change(source, plan)
            except Refused as refusal:
                warnings.append("the clocks are not held as the profile says: %s" % refusal)
                if isinstance(refusal, NotAllowed):
                    break
        return warnings

    def _store(self, source: Source, plan: wire.ClocksPlan) -> None:
        if not plan.jetson_clocks:
            return
        path = os.path.join(self._workdir, "clocks-%d.store" % len(self._steps))
        # It asks before it overwrites, and would get no answer.
        remove(path)
        run_as_root(source, _JETSON_CLOCKS, "--store", path)
        sync(path)
        self._remember(Step("jetson_clocks", path, ""))

    def _change_mode(self, source: Source, plan: wire.ClocksPlan) -> None:
        if plan.power_mode is None:
            return
        active, wanted = _active_mode(source), _mode_number(source, plan.power_mode)
        if active != wanted:
            self._remember(Step("power mode", plan.power_mode, str(active)))
            _set_mode(source, wanted)
            # Another mode has other limits: each is left with those it had.
            self._store(source, plan)

    def _hold_jetson(self, source: Source, plan: wire.ClocksPlan) -> None:
        # Not without a way back.
        if any(step.kind == "jetson_clocks" for step in self._steps):
            run_as_root(source, _JETSON_CLOCKS)

    def _hold_governor(self, source: Source, plan: wire.ClocksPlan) -> None:
        if plan.governor is None:
            return
        # cpu0 to cpu3 of a Raspberry Pi share one file.
        files = {os.path.realpath(source.root + path): path for path in reversed(source.paths(_GOVERNORS))}
        if not files:
            raise Refused("this board shows no governor of its CPUs")
        for path in sorted(files.values()):
            before = source.text(path)
            if before != plan.governor:
                self._remember(Step("governor", path, before))
                _set_governor(source, path, plan.governor)

    def _remember(self, step: Step) -> None:
        self._steps.append(step)
        self._write(self._steps)

    def _write(self, steps: List[Step]) -> None:
        part = self._record + ".part"
        with open(part, "wb") as record:
            record.write(wire.encode({"steps": wire.to_wire(steps)}))
            record.flush()
            os.fsync(record.fileno())
        os.replace(part, self._record)
        sync(self._workdir)

    def _read(self) -> List[Step]:
        try:
            with open(self._record, "rb") as record:
                return [_step(data) for data in wire.field(wire.decode(record.read()), "steps", list)]
        except FileNotFoundError:
            return []


def _step(data: Any) -> Step:
    if not isinstance(data, dict) or data.get("kind") not in _UNDO:
        raise wire.WireError("%s: expected steps, got %r" % (RECORD_NAME, data))
    return Step(data["kind"], wire.field(data, "subject", str), wire.field(data, "value", str))


def _active_mode(source: Source) -> int:
    status = re.search(r"pmode:(\d+)", source.text("/var/lib/nvpmodel/status"))
    # `nvpmodel -q` prints the mode's name and, in the last line, its number.
    found = status or re.search(r"^(\d+)$(?!.*^\d+$)", source.run(_NVPMODEL, "-q"), re.M | re.S)
    if not found:
        raise Refused("the active power mode cannot be read, and so could not be put back")
    return int(found.group(1))


def _mode_number(source: Source, name: str) -> int:
    """Find a mode by its name, since numbers differ from board to board; Xavier's say MODE_ before it."""
    modes = conditions.power_modes(source)
    for number, own in modes.items():
        if _plain(own) == _plain(name):
            return number
    raise Refused("no power mode %r; this board has: %s" % (name, ", ".join(sorted(modes.values())) or "none"))


def _plain(mode: str) -> str:
    mode = mode.upper()
    return mode[len("MODE_") :] if mode.startswith("MODE_") else mode


def _set_mode(source: Source, number: int) -> None:
    # Some modes take a reboot, and nvpmodel offers it: the board's owner decides that, not we.
    said = run_as_root(source, _NVPMODEL, "-m", str(number), text="no\n")
    if _active_mode(source) == number:
        return
    if "reboot" in said.lower():
        raise Refused("power mode %d takes a reboot: on the board, sudo nvpmodel -m %d" % (number, number))
    raise Refused("nvpmodel did not change the power mode to %d: %s" % (number, said[-300:] or "it said nothing"))


def _set_governor(source: Source, path: str, governor: str) -> None:
    run_as_root(source, _TEE, source.root + path, text=governor + "\n")
    if source.text(path) != governor:
        raise Refused("%s stays %s" % (path, source.text(path)))


def _undo_mode(source: Source, step: Step) -> None:
    if _active_mode(source) != int(step.value):
        _set_mode(source, int(step.value))


def _undo_store(source: Source, step: Step) -> None:
    run_as_root(source, _JETSON_CLOCKS, "--restore", step.subject)
    remove(step.subject)


def _undo_governor(source: Source, step: Step) -> None:
    _set_governor(source, step.subject, step.value)


_UNDO = {"power mode": _undo_mode, "jetson_clocks": _undo_store, "governor": _undo_governor}
