"""What the host can ask for: one method each, from the wire's values to the wire's values."""

import contextlib
import math
import os
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

from scbp_agent import facts, wire
from scbp_agent.blobs import BlobStore
from scbp_agent.clocks import Clocks
from scbp_agent.lock import BoardLock
from scbp_agent.runtimes import base
from scbp_agent.watch import Watch
from scbp_agent.worker import Supervisor, WorkerExhausted

Method = Callable[[Dict[str, Any]], Any]

_LEFT_OVER = "a session that was killed had left the clocks held; they were put back"
# Jobs whose worker holds one model only, so that the board's memory and power are this model's.
_ALONE = frozenset(["build", "solo"])
# One for each workspace that a TensorRT tries, and a last one that says so.
_MOST_BUILDS = 5
_PHASES = ("phase", "cold_load", "inference", "warm_load")


class Methods(object):
    """The agent's methods over one workdir.

    Args:
        workdir: where the blobs are.
        blobs: opened.
        supervisor: runs the workers.
        lock: the board's; what measures takes it.
        clocks: the board's; whoever changes them has the lock.
    """

    def __init__(self, workdir: str, blobs: BlobStore, supervisor: Supervisor, lock: BoardLock, clocks: Clocks) -> None:
        self._workdir = workdir
        self._engines = os.path.join(workdir, "engines")
        self._blobs = blobs
        self._supervisor = supervisor
        self._lock = lock
        self._clocks = clocks

    def table(self) -> Dict[str, Method]:
        """Return every method by its name on the wire; each raises AgentFailure or WireError."""
        return {
            wire.HELLO: self._hello,
            wire.LOCK: self._take_lock,
            wire.LOCK_CLOCKS: self._hold_clocks,
            wire.RESTORE_CLOCKS: self._restore_clocks,
            wire.HAVE: self._have,
            wire.ADMIT: self._admit,
            wire.MEASURE_BUILD: self._measure_build,
            wire.MEASURE_PAIRED: self._measure_paired,
            wire.MEASURE_SOLO: self._measure_solo,
            wire.MEASURE_LAYERS: self._measure_layers,
            wire.INFER: self._infer,
        }

    def _hello(self, params: Dict[str, Any]) -> Dict[str, Any]:
        require_protocol(params)
        warnings = self._put_back_what_is_left_over()
        return dict(facts.hello_result(self._workdir), lock=self._lock.holder(), warnings=warnings)

    def _take_lock(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self._lock.take(wire.lock_claim(params))
        # Its last holder may have been killed while we waited for it.
        return {"holder": self._lock.holder(), "warnings": self._put_back_what_is_left_over()}

    def _hold_clocks(self, params: Dict[str, Any]) -> wire.ClocksResult:
        plan = wire.clocks_plan(params)
        self._take_unnamed(wire.LOCK_CLOCKS)
        return self._clocks.hold(plan)

    def _restore_clocks(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self._take_unnamed(wire.RESTORE_CLOCKS)
        return {"warnings": self._clocks.restore()}

    def _put_back_what_is_left_over(self) -> List[str]:
        if not self._clocks.are_left_over:
            return []
        with self._lock.briefly("putting the clocks back") as ours:
            # Where the board is another session's, so are its clocks.
            return [_LEFT_OVER] + self._clocks.restore() if ours else []

    def _take_unnamed(self, purpose: str) -> None:
        """Take the lock for a session that did not say who it is; ours do, before they measure."""
        self._lock.take(wire.LockClaim("somebody", os.getppid(), purpose, str(os.getpid()), None))

    def _have(self, params: Dict[str, Any]) -> Dict[str, Any]:
        hashes = [wire.sha256_field({"sha256": value}, "sha256") for value in wire.field(params, "sha256", list)]
        return {"missing": self._blobs.missing(hashes)}

    def _admit(self, params: Dict[str, Any]) -> Dict[str, Any]:
        sha256, size_bytes = wire.sha256_field(params, "sha256"), wire.field(params, "size", int)
        upload, encoding = wire.field(params, "upload", str), wire.field(params, "encoding", str)
        return {"sha256": sha256, "stored_bytes": self._blobs.admit(upload, sha256, encoding, size_bytes)}

    def _measure_build(self, params: Dict[str, Any]) -> Dict[str, Any]:
        plan = wire.build_plan(params)
        if not base.has_build_step(plan.options.runtime):
            # There is nothing that a worker could do.
            return dict(wire.to_wire(wire.BuildResult(None, False, None, None, [], {})))
        return self._work("build", params, plan, _hashes([plan.model], []))

    def _measure_paired(self, params: Dict[str, Any]) -> Dict[str, Any]:
        plan = wire.paired_plan(params)
        if plan.blocks % 2:
            raise wire.WireError("field 'blocks': expected an even number (ABBA), got %d" % plan.blocks)
        return self._work("paired", params, plan, _hashes([own.model for own in plan.models], [plan.inputs]))

    def _measure_solo(self, params: Dict[str, Any]) -> Dict[str, Any]:
        plan = wire.solo_plan(params)
        return self._work("solo", params, plan, _hashes([plan.model], [plan.inputs]))

    def _measure_layers(self, params: Dict[str, Any]) -> Dict[str, Any]:
        plan = wire.layers_plan(params)
        return self._work("layers", params, plan, _hashes([plan.model], [plan.inputs]))

    def _infer(self, params: Dict[str, Any]) -> Dict[str, Any]:
        plan = wire.infer_plan(params)
        return self._work("infer", params, plan, _hashes([plan.model], [plan.inputs, plan.expected]))

    def _work(self, kind: str, params: Dict[str, Any], plan: Any, hashes: Iterable[str]) -> Dict[str, Any]:
        base.require(plan.options.runtime)
        _check_limits(plan)
        self._take_unnamed(kind)
        with self._files(hashes) as files:
            job = {
                "plan": params,
                "files": files,
                "scratch": self._blobs.scratch,
                "engines": self._engines,
                "killed": 0,
            }
            with Watch(closely=kind in _ALONE) as watch:
                result = self._run(kind, job, plan)
        return seen_from_outside(result, watch)

    def _run(self, kind: str, job: Dict[str, Any], plan: Any) -> Dict[str, Any]:
        try:
            if kind == "build":
                return self._run_build(job, plan.deadline_s)
            return self._supervisor.run(kind, job, plan.deadline_s)
        except wire.AgentFailure as failure:
            if failure.kind == wire.OUT_OF_MEMORY and plan.memory_limit_bytes is not None:
                failure.hint = "workers may take %d MB of address space: see memory_limit_mb in the profile" % (
                    plan.memory_limit_bytes // 10**6
                )
            raise

    def _run_build(self, job: Dict[str, Any], deadline_s: float) -> Dict[str, Any]:
        """Build in a worker; one that the kernel kills is followed by another, whose runtime takes less memory."""
        end_s = time.monotonic() + deadline_s
        for killed in range(_MOST_BUILDS - 1):
            try:
                return self._supervisor.run("build", dict(job, killed=killed), end_s - time.monotonic())
            except WorkerExhausted:
                # Its end is in the agent's log.
                continue
        return self._supervisor.run("build", dict(job, killed=_MOST_BUILDS - 1), end_s - time.monotonic())

    @contextlib.contextmanager
    def _files(self, hashes: Iterable[str]) -> Iterator[Dict[str, str]]:
        with contextlib.ExitStack() as stack:
            yield {sha256: stack.enter_context(self._blobs.unpacked(sha256)) for sha256 in sorted(set(hashes))}


def _check_limits(plan: Any) -> None:
    if not (plan.deadline_s > 0 and math.isfinite(plan.deadline_s)):
        raise wire.WireError("field 'deadline_s': expected seconds above 0, got %r" % plan.deadline_s)
    if plan.memory_limit_bytes is not None and not base.runs_on_cpu(plan.options):
        message = "field 'memory_limit_bytes': expected none with %s: CUDA reserves address space beyond any limit"
        raise wire.WireError(message % plan.options.runtime)


def seen_from_outside(result: Dict[str, Any], watch: Watch) -> Dict[str, Any]:
    """Add to a worker's result what only its parent could see: the board's memory and power meanwhile."""
    for name in _PHASES:
        phase = result.get(name)
        if phase is not None:
            started_ns = phase["started_ns"]
            phase["system_bytes"] = watch.system_bytes(started_ns, started_ns + phase["duration_ns"])
    if "loop_ns" in result:
        started_ns = result["loop_started_ns"]
        energy = watch.energy(started_ns, started_ns + result["loop_ns"], len(result["runs_ns"]))
        result["energy"] = wire.to_wire(energy)
    if "conditions" in result:
        result["conditions"]["during"] = watch.during()
    return result


def require_protocol(params: Dict[str, Any]) -> None:
    """Check the host's ``protocol_version``; raises PROTOCOL_MISMATCH naming both."""
    theirs = params.get("protocol_version")
    if theirs != wire.PROTOCOL_VERSION or isinstance(theirs, bool):
        message = "the host speaks protocol version %r, this agent speaks %d" % (theirs, wire.PROTOCOL_VERSION)
        raise wire.AgentFailure(wire.PROTOCOL_MISMATCH, message, "install the agent of the host's release")


def _hashes(models: Iterable[wire.ModelRef], arrays: Iterable[Optional[wire.TensorRef]]) -> Iterator[str]:
    for model in models:
        yield from model.blobs.values()
    for array in arrays:
        if array is not None:
            yield array.sha256
