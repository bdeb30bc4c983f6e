"""What TensorRT writes when it fails, and what that means. It returns None and leaves its reasons to the log."""

import re
from typing import List, NamedTuple, Sequence

from scbp_agent import wire

_Symptom = NamedTuple("_Symptom", [("pattern", str), ("kind", str), ("message", str), ("hint", str)])

LESS_WORKSPACE = (
    "set workspace_bytes = 268435456 or less under [runtime_settings], and end the board's desktop; swap does not help"
)
# The first that fits. [the remedies: docs/devices.md, with their sources]
_SYMPTOMS = (
    _Symptom(
        r"cudaError 35|cudaError 100|driver version is insufficient|no CUDA-capable device|CUDA initialization failure",
        wire.CAPABILITY_MISSING,
        "TensorRT finds no usable GPU driver",
        "this needs an NVIDIA GPU with its driver",
    ),
    _Symptom(
        r"[Vv]ersion tag does not match|VersionRead ==",
        wire.ENGINE_VERSION,
        "the engine was built by another TensorRT than the one that loads it",
        "two TensorRTs are installed: leave one; dpkg -l | grep -i tensorrt, and pip list",
    ),
    _Symptom(
        r"No space left on device",
        wire.DISK_FULL,
        "no space left on the board while TensorRT worked",
        "free some space there",
    ),
    _Symptom(
        r"[Cc]ould not find any implementation for node",
        wire.NO_TACTIC,
        "TensorRT has no implementation of a layer that fits into its workspace",
        "set a larger workspace_bytes under [runtime_settings]; if memory is short, free some first",
    ),
    _Symptom(
        r"[Oo]ut ?[Oo]f ?[Mm]emory|cudaErrorMemoryAllocation|ALLOC_FAILED|NvMapMem|Requested amount of GPU memory",
        wire.OUT_OF_MEMORY,
        "TensorRT ran out of memory",
        LESS_WORKSPACE,
    ),
)
_SKIPPED = re.compile(r"[Ss]kipping tactic|[Tt]actic.*insufficient memory|insufficient memory.*tactic")


def failure(lines: Sequence[str], kind: str, message: str, hint: str = "") -> wire.AgentFailure:
    """Return the failure that the log tells of, else one of ``kind``.

    Args:
        lines: warnings and errors, oldest first.
        kind: of the failure where no line is known.
        message: what TensorRT was asked for and did not do.
        hint: for the unknown case.
    """
    for symptom in _SYMPTOMS:
        told = [line for line in lines if re.search(symptom.pattern, line)]
        if told:
            return wire.AgentFailure(symptom.kind, "%s: %s" % (symptom.message, _line(told[0])), symptom.hint)
    last = ": " + _line(lines[-1]) if lines else ""
    return wire.AgentFailure(kind, message + last, hint)


def build_notes(lines: Sequence[str]) -> List[str]:
    """Return what a build that succeeded left in the log and a reader of its latency should know."""
    skipped = sum(bool(_SKIPPED.search(line)) for line in lines)
    if not skipped:
        return []
    return ["%d tactics were skipped for lack of memory: the engine may be slower than it could be" % skipped]


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
