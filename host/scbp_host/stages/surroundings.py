"""What a run is bound to: the device that measures and the data that judge."""

from __future__ import annotations

from dataclasses import asdict

from scbp_host.device.client import DeviceClient
from scbp_host.errors import UsageError
from scbp_host.events import Warned
from scbp_host.stages.context import RunContext
from scbp_host.stages.ledger import Payload
from scbp_host.tasks.base import Task


def acknowledge_surroundings(context: RunContext) -> None:
    """Record device and data, and refuse to go on with a run on another device or other data."""
    probe = context.ledger.must("probe", "device", lambda: _probe_payload(context))
    runtime = context.profile.runtime
    now, then = context.client.info.runtimes[runtime], probe["record"]["runtime_version"]
    if now != then:
        raise UsageError(
            f"{context.profile.name}: {runtime} is {now}, the run began with {then}; their latencies do not compare",
            "start a new run, without --resume",
        )
    settings, told = context.profile.runtime_settings, probe["record"].get("runtime_settings", {})
    if settings != told:
        raise UsageError(
            f"{context.profile.name}: the runtime's settings are {settings}, the run began with {told};"
            " their latencies do not compare",
            "start a new run, without --resume",
        )
    clocks, known = _clocks(context.client), probe["record"].get("clocks") or {}
    for name, title in (("power_mode", "power mode"), ("policy", "clock policy")):
        if None not in (clocks[name], known.get(name)) and clocks[name] != known[name]:
            raise UsageError(
                f"{context.profile.name}: the {title} is {clocks[name]}, the run began with {known[name]}; their"
                " latencies do not compare",
                "put it back, or start a new run, without --resume",
            )
    data = context.ledger.must("data", "task", lambda: _data_payload(context.task))
    if data["split_sha256"] != context.task.split_sha256:
        raise UsageError(f"data {context.task.name}: changed since the run began", "start a new run, without --resume")
    for warning in (*context.client.warnings, *data.get("warnings", ())):
        context.listen(Warned(warning))


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
