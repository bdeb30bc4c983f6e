"""One measurement in a child process: the child's side. It reads one job, writes one line and is gone."""

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from scbp_agent import contention, memory, phases, solo, stdio, tensors, timing, wire
from scbp_agent.conditions import read_conditions
from scbp_agent.runtimes import base

_PR_SET_PDEATHSIG = 1

Job = NamedTuple(
    "Job",
    [("plan", Dict[str, Any]), ("files", Dict[str, str]), ("scratch", str), ("engines", str), ("killed", int)],
)
Job.__doc__ = """A plan as it came over the wire, the path of each verified blob it names, by SHA-256, a folder to write
in, which goes with the session, the engines' folder, and how many workers have been killed over this plan."""


def main(parent_pid: int) -> None:
    """Do the job on stdin, write ``{"ok", "result"}`` or ``{"ok", "error"}`` to stdout, and end the process."""
    wire_out = stdio.claim_stdout()
    _die_with(parent_pid)
    _volunteer_for_the_oom_killer()
    request = wire.decode(sys.stdin.buffer.read())
    wire_out.write(wire.encode(_reply(request)))
    wire_out.flush()
    # The result is out; a runtime whose destructors crash must not spoil it.
    os._exit(0)


def _reply(request: Dict[str, Any]) -> Dict[str, Any]:
    try:
        return {"ok": True, "result": wire.to_wire(_do(request["kind"], request["job"]))}
    except wire.AgentFailure as failure:
        return {"ok": False, "error": failure.to_wire()}
    except MemoryError as error:
        exhausted = wire.AgentFailure(wire.OUT_OF_MEMORY, "the worker ran out of memory: %s" % (error or "MemoryError"))
        return {"ok": False, "error": exhausted.to_wire()}


def _do(kind: str, job: Dict[str, Any]) -> Any:
    limit_bytes = job.get("plan", {}).get("memory_limit_bytes")
    if limit_bytes is not None:
        memory.limit_address_space(limit_bytes)
    return JOBS[kind](job)


def _probe(job: Dict[str, Any]) -> Dict[str, Any]:
    runtime = base.load(job["runtime"])
    told = {"version": runtime.version(), "max_opset": runtime.max_opset()}
    return dict(told, capabilities=runtime.capabilities() if hasattr(runtime, "capabilities") else {})


def _build(job: Dict[str, Any]) -> wire.BuildResult:
    plan = wire.build_plan(job["plan"])
    base.load(plan.options.runtime).version()
    before = read_conditions()
    baseline_rss_bytes = phases.baseline_rss_bytes()
    with phases.Phase() as phase:
        prepared = _prepare(plan.model, plan.options, job)
    built_now = prepared.build_ns is not None and not prepared.cached
    return wire.BuildResult(
        prepared.build_ns,
        prepared.cached,
        phase.result if built_now else None,
        baseline_rss_bytes,
        list(prepared.notes),
        {"before": before, "after": read_conditions()},
    )


def _paired(job: Dict[str, Any]) -> wire.PairedResult:
    plan = wire.paired_plan(job["plan"])
    version = base.load(plan.options.runtime).version()
    batch = _batch(plan.inputs, job["files"])
    before = read_conditions()
    models = [wire.ModelSamples([], []) for _ in plan.models]
    schedule = timing.PairedSchedule(
        plan.blocks, plan.block_ns, plan.warmup_ns, plan.warmup_limit_ns, plan.period_ns, plan.sampling_ns
    )
    records, missed, unsteady = [], 0, 0
    for index in range(plan.loads):
        # They take turns in who is loaded and timed first: it was an advantage of several percent.
        lead = index % len(models)
        order = [*range(lead, len(models)), *range(lead)]
        load, record = _time_one_load(schedule, [plan.models[own] for own in order], batch, job)
        records.append(record)
        # The first load has shown how many blocks there is time for; statistics want as many after each.
        schedule = schedule._replace(blocks=len(load.models[0].blocks_ns), sampling_ns=None)
        for own, samples in zip(order, load.models):
            models[own].blocks_ns.extend(samples.blocks_ns)
            models[own].warmup_ns.extend(samples.warmup_ns)
        missed += load.missed_periods
        unsteady += load.unsteady_warmups
    return wire.PairedResult(
        models,
        records,
        None if plan.period_ns is None else missed,
        unsteady,
        {"before": before, "after": read_conditions(), "runtime_version": version},
    )


def _time_one_load(
    schedule: timing.PairedSchedule,
    models: List[wire.RoundModel],
    batch: Optional[tensors.Array],
    job: Dict[str, Any],
) -> Tuple[timing.RoundSamples, wire.LoadRecord]:
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(own.model, own.options, job)) for own in models]
        subjects = [_subject(own, batch) for own in opened]
        with contention.Counter() as counter:
            samples = timing.time_round(subjects, schedule)
    return samples, counter.record


def _solo(job: Dict[str, Any]) -> wire.SoloResult:
    plan = wire.solo_plan(job["plan"])
    # Everything that is not the model's comes first: the runtime's libraries, the inputs, and what must be built.
    base.load(plan.options.runtime).version()
    batch = _batch(plan.inputs, job["files"])
    prepared = _prepare(plan.model, plan.options, job)
    before = read_conditions()
    baseline_rss_bytes = phases.baseline_rss_bytes()
    with ExitStack() as stack:
        with phases.Phase() as cold_load:
            model = stack.enter_context(_open_prepared(prepared, plan.options))
        with phases.Phase() as inference:
            loop = solo.run(model, _subject(model, batch), plan)
        held = model.device_memory_bytes()
        notes = list(prepared.notes) + list(model.notes)
    with ExitStack() as stack, phases.Phase() as warm_load:
        stack.enter_context(_open_prepared(prepared, plan.options))
    return wire.SoloResult(
        baseline_rss_bytes=baseline_rss_bytes,
        cold_load=cold_load.result,
        inference=phases.with_runtimes_count(inference.result, held, plan.options.runtime),
        warm_load=warm_load.result,
        warmup_ns=loop.warmup_ns,
        runs_ns=loop.runs_ns,
        loop_started_ns=loop.started_ns,
        loop_ns=loop.duration_ns,
        missed_periods=loop.missed_periods,
        energy=None,
        device_times=loop.device_times,
        notes=notes,
        conditions={"before": before, "after": read_conditions()},
    )


def _layers(job: Dict[str, Any]) -> wire.LayersResult:
    plan = wire.layers_plan(job["plan"])
    batch = _batch(plan.inputs, job["files"])
    before = read_conditions()
    with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
        prepared = _prepare(plan.model, plan.options, job)
        model = base.open_profiled(prepared.format, prepared.paths, plan.options, folder)
        with model:
            timing.time_runs(_subject(model, batch), plan.warmup_runs + plan.runs)
            nodes = model.node_times(plan.runs)
    return wire.LayersResult(nodes, {"before": before, "after": read_conditions()})


def _infer(job: Dict[str, Any]) -> wire.InferResult:
    plan = wire.infer_plan(job["plan"])
    batch = tensors.read(plan.inputs, job["files"])
    expected = _batch(plan.expected, job["files"])
    with _open(plan.model, plan.options, job) as model:
        outputs = tensors.first_outputs(model, tensors.entries(batch, model))
    largest_difference, largest_expected = tensors.compare(outputs, expected)
    shape, data = tuple(outputs.shape), tensors.to_base64(outputs)
    return wire.InferResult("float32", shape, data, largest_difference, largest_expected)


def _open(model: wire.ModelRef, options: wire.RuntimeOptions, job: Dict[str, Any]) -> base.Model:
    return _open_prepared(_prepare(model, options, job), options)


def _open_prepared(prepared: base.Prepared, options: wire.RuntimeOptions) -> base.Model:
    return base.open_model(prepared.format, prepared.paths, options)


def _prepare(model: wire.ModelRef, options: wire.RuntimeOptions, job: Dict[str, Any]) -> base.Prepared:
    """Build what the runtime loads, or find it in the cache, which holds it since :func:`_build`."""
    return base.prepare(model.format, _paths(model, job["files"]), options, job["engines"], job["killed"])


def _subject(model: base.Model, batch: Optional[tensors.Array]) -> timing.Subject:
    return timing.Subject(model.run, tensors.entries(batch, model))


def _paths(model: wire.ModelRef, files: Dict[str, str]) -> Dict[str, str]:
    return {role: files[sha256] for role, sha256 in model.blobs.items()}


def _batch(tensor: Optional[wire.TensorRef], files: Dict[str, str]) -> Optional[tensors.Array]:
    return None if tensor is None else tensors.read(tensor, files)


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the agent dies, however it dies."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        # A Python without ctypes, or not Linux: the deadline still holds while the agent lives.
        pass
    if os.getppid() != parent_pid:
        # The agent died before prctl.
        os._exit(1)


def _volunteer_for_the_oom_killer() -> None:
    """Make the kernel prefer this process to the agent and the user's programs when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        # A sandbox may forbid it.
        pass


JOBS: Dict[str, Callable[[Dict[str, Any]], Any]] = {
    "probe": _probe,
    "build": _build,
    "paired": _paired,
    "solo": _solo,
    "layers": _layers,
    "infer": _infer,
}
