"""What a run is bound to: the device that measures and the data that judge."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scbp_host.device.client import DeviceClient
from scbp_host.errors import UsageError
from scbp_host.events import Warned
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.tasks.base import Task


def acknowledge_surroundings(context: RunContext) -> None:
    """Record device and data, and refuse to go on with a run on another device or other data."""
    probe = context.ledger.must("probe", "device", lambda: _probe_payload(context))
    _refuse_another_device(context, probe["record"])
    data = context.ledger.must("data", "task", lambda: _data_payload(context.task))
    if data["split_sha256"] != context.task.split_sha256:
        raise UsageError(f"data {context.task.name}: changed since the run began", "start a new run, without --resume")
    for warning in (*context.client.warnings, *data.get("warnings", ())):
        context.listen(Warned(warning))


def _refuse_another_device(context: RunContext, began: Payload) -> None:
    """Raise UsageError where latencies of now do not compare with those of then; ``began`` is the probe's record."""
    profile, clocks, known = context.profile, _clocks(context.client), began.get("clocks") or {}
    version, anew = context.client.info.runtimes[profile.runtime], "start a new run, without --resume"
    back = f"put it back, or {anew}"
    compared: list[tuple[str, Any, Any, str]] = [
        (f"{profile.runtime} is", began["runtime_version"], version, anew),
        ("the runtime's settings are", began.get("runtime_settings", {}), profile.runtime_settings, anew),
        ("the power mode is", known.get("power_mode"), clocks["power_mode"], back),
        ("the clock policy is", known.get("policy"), clocks["policy"], back),
    ]
    for what, then, now, hint in compared:
        # What a device does not tell is no difference.
        if None not in (then, now) and then != now:
            raise UsageError(
                f"{profile.name}: {what} {now}, the run began with {then}; their latencies do not compare", hint
            )


def _probe_payload(context: RunContext) -> Payload:
    profile, info = context.profile, context.client.info
    return {
        "record": {
            "name": profile.name,
            "title": profile.title,
            "board": info.board,
            "os_release": info.os_release,
            "python": info.python,
            "runtime": profile.runtime,
            "runtime_version": info.runtimes[profile.runtime],
            "transport": profile.transport,
            "threads": profile.threads,
            "runtime_settings": profile.runtime_settings,
            "agent_sha256": info.agent_sha256,
            "emulated": info.emulated,
            "clocks": _clocks(context.client),
            "facts": info.facts,
        },
        "warnings": list(context.client.warnings),
        "bytes_shipped": context.client.bytes_shipped,
    }


def _clocks(client: DeviceClient) -> Payload:
    held, conditions = client.clocks, client.info.facts.get("conditions") or {}
    if held is not None:
        return {"asked": True, "policy": held.policy, "power_mode": held.power_mode}
    return {"asked": False, "policy": conditions.get("clock_policy"), "power_mode": conditions.get("power_mode")}


def _data_payload(task: Task) -> Payload:
    return {
        "name": task.name,
        "split_sha256": task.split_sha256,
        **asdict(task.sizes),
        "class_names": list(task.class_names),
        "metric": task.metric.name,
        "warnings": list(task.warnings),
    }
