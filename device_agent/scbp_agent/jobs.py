"""One measurement in a child process: the child's side. It reads one job, writes one line and is gone."""

import gc
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from typing import Any, Callable, Dict, NamedTuple, Optional

from scbp_agent import memory, stdio, tensors, timing, wire
from scbp_agent.conditions import read_conditions
from scbp_agent.runtimes import base

_PR_SET_PDEATHSIG = 1

Job = NamedTuple("Job", [("plan", Dict[str, Any]), ("files", Dict[str, str]), ("scratch", str)])
Job.__doc__ = """A plan as it came over the wire, the path of each verified blob it names, by SHA-256, and a folder to
write in, which goes with the session."""


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
        return {"ok": True, "result": wire.to_wire(JOBS[request["kind"]](request["job"]))}
    except wire.AgentFailure as failure:
        return {"ok": False, "error": failure.to_wire()}
    except MemoryError as error:
        exhausted = wire.AgentFailure(wire.OUT_OF_MEMORY, "the worker ran out of memory: %s" % (error or "MemoryError"))
        return {"ok": False, "error": exhausted.to_wire()}


def _probe(job: Dict[str, Any]) -> Dict[str, Any]:
    runtime = base.load(job["runtime"])
    told = {"version": runtime.version(), "max_opset": runtime.max_opset()}
    return dict(told, capabilities=runtime.capabilities() if hasattr(runtime, "capabilities") else {})


def _paired(job: Dict[str, Any]) -> wire.PairedResult:
    plan = wire.paired_plan(job["plan"])
    base.load(plan.options.runtime).version()
    batch = _batch(plan.inputs, job["files"])
    before = read_conditions()
    samples = timing.PairedSamples([], [], [], [])
    for index in range(plan.loads):
        load = _time_one_load(plan, batch, job["files"], candidate_leads=index % 2 == 1)
        samples.candidate_blocks_ns.extend(load.candidate_blocks_ns)
        samples.reference_blocks_ns.extend(load.reference_blocks_ns)
        samples.candidate_warmup_ns.extend(load.candidate_warmup_ns)
        samples.reference_warmup_ns.extend(load.reference_warmup_ns)
    return wire.PairedResult(*samples, conditions={"before": before, "after": read_conditions()})


def _time_one_load(
    plan: wire.PairedPlan, batch: Optional[tensors.Array], files: Dict[str, str], candidate_leads: bool
) -> timing.PairedSamples:
    """Load and time both. They take turns in who is loaded and timed first: it was an advantage of several percent."""
    leads, follows = (plan.candidate, plan.reference) if candidate_leads else (plan.reference, plan.candidate)
    with ExitStack() as models:
        first = models.enter_context(_open(leads, plan.options, files))
        second = models.enter_context(_open(follows, plan.options, files))
        samples = timing.time_paired(
            timing.Subject(second.run, tensors.entries(batch, second)),
            timing.Subject(first.run, tensors.entries(batch, first)),
            timing.PairedSchedule(plan.blocks, plan.block_ns, plan.warmup_ns),
        )
    if not candidate_leads:
        return samples
    return timing.PairedSamples(
        candidate_blocks_ns=samples.reference_blocks_ns,
        reference_blocks_ns=samples.candidate_blocks_ns,
        candidate_warmup_ns=samples.reference_warmup_ns,
        reference_warmup_ns=samples.candidate_warmup_ns,
    )


def _solo(job: Dict[str, Any]) -> wire.SoloResult:
    plan = wire.solo_plan(job["plan"])
    # Everything that is not the model's comes first: the runtime's libraries, and the inputs.
    base.load(plan.options.runtime).version()
    batch = _batch(plan.inputs, job["files"])
    before = read_conditions()
    gc.collect()
    # VmHWM only rises, and importing peaks higher than what stays. Reset, it says what is really held before the load;
    # where the kernel forbids it, a small model can hide below the import's peak.
    memory.reset_peak_rss()
    baseline_rss_bytes = memory.peak_rss_bytes()
    started_ns = timing.now_ns()
    with _open(plan.model, plan.options, job["files"]) as model:
        load_ns = timing.now_ns() - started_ns
        runs_ns = timing.time_runs(timing.Subject(model.run, tensors.entries(batch, model)), plan.runs)
        peak_rss_bytes = memory.peak_rss_bytes()
    conditions = {"before": before, "after": read_conditions()}
    return wire.SoloResult(load_ns, runs_ns, baseline_rss_bytes, peak_rss_bytes, conditions)


def _layers(job: Dict[str, Any]) -> wire.LayersResult:
    plan = wire.layers_plan(job["plan"])
    batch = _batch(plan.inputs, job["files"])
    before = read_conditions()
    with tempfile.TemporaryDirectory(dir=job["scratch"]) as folder:
        model = base.open_profiled(plan.model.format, _paths(plan.model, job["files"]), plan.options, folder)
        with model:
            timing.time_runs(timing.Subject(model.run, tensors.entries(batch, model)), plan.warmup_runs + plan.runs)
            nodes = model.node_times(plan.runs)
    return wire.LayersResult(nodes, {"before": before, "after": read_conditions()})


def _infer(job: Dict[str, Any]) -> wire.InferResult:
    plan = wire.infer_plan(job["plan"])
    batch = tensors.read(plan.inputs, job["files"])
    expected = _batch(plan.expected, job["files"])
    with _open(plan.model, plan.options, job["files"]) as model:
        outputs = tensors.first_outputs(model, tensors.entries(batch, model))
    largest_difference, largest_expected = tensors.compare(outputs, expected)
    shape, data = tuple(outputs.shape), tensors.to_base64(outputs)
    return wire.InferResult("float32", shape, data, largest_difference, largest_expected)


def _open(model: wire.ModelRef, options: wire.RuntimeOptions, files: Dict[str, str]) -> base.Model:
    return base.open_model(model.format, _paths(model, files), options)


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
    "paired": _paired,
    "solo": _solo,
    "layers": _layers,
    "infer": _infer,
}
