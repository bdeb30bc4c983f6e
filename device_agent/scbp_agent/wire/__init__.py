"""What crosses between host and agent: one JSON object a line, requests in, replies and notes out.

A request is ``{"id": 1, "method": "hello", "params": {...}}``. Its reply is ``{"id": 1, "ok": true, "result": {...}}``
or ``{"id": 1, "ok": false, "error": {"kind", "message", "hint", "transient"}}``. Before the reply any number of notes
``{"id": 1, "note": "text"}`` may come. The first request of a session is ``hello``, which carries the host's
PROTOCOL_VERSION.

This is the only package that host and agent share. Both import it whole: ``from scbp_agent import wire``.
"""

from scbp_agent.wire.board import ClocksPlan as ClocksPlan
from scbp_agent.wire.board import ClocksResult as ClocksResult
from scbp_agent.wire.board import LockClaim as LockClaim
from scbp_agent.wire.board import LockHolder as LockHolder
from scbp_agent.wire.board import clocks_plan as clocks_plan
from scbp_agent.wire.board import clocks_result as clocks_result
from scbp_agent.wire.board import lock_claim as lock_claim
from scbp_agent.wire.board import lock_holder as lock_holder
from scbp_agent.wire.codec import AgentFailure as AgentFailure
from scbp_agent.wire.codec import WireError as WireError
from scbp_agent.wire.codec import decode as decode
from scbp_agent.wire.codec import encode as encode
from scbp_agent.wire.codec import field as field
from scbp_agent.wire.codec import sha256_field as sha256_field
from scbp_agent.wire.codec import to_wire as to_wire
from scbp_agent.wire.plans import BuildPlan as BuildPlan
from scbp_agent.wire.plans import InferPlan as InferPlan
from scbp_agent.wire.plans import LayersPlan as LayersPlan
from scbp_agent.wire.plans import ModelRef as ModelRef
from scbp_agent.wire.plans import PairedPlan as PairedPlan
from scbp_agent.wire.plans import RoundModel as RoundModel
from scbp_agent.wire.plans import RuntimeOptions as RuntimeOptions
from scbp_agent.wire.plans import SoloPlan as SoloPlan
from scbp_agent.wire.plans import TensorRef as TensorRef
from scbp_agent.wire.plans import build_plan as build_plan
from scbp_agent.wire.plans import infer_plan as infer_plan
from scbp_agent.wire.plans import layers_plan as layers_plan
from scbp_agent.wire.plans import model_ref as model_ref
from scbp_agent.wire.plans import paired_plan as paired_plan
from scbp_agent.wire.plans import runtime_options as runtime_options
from scbp_agent.wire.plans import solo_plan as solo_plan
from scbp_agent.wire.plans import tensor_ref as tensor_ref
from scbp_agent.wire.results import BuildResult as BuildResult
from scbp_agent.wire.results import DeviceTimes as DeviceTimes
from scbp_agent.wire.results import Energy as Energy
from scbp_agent.wire.results import InferResult as InferResult
from scbp_agent.wire.results import LayersResult as LayersResult
from scbp_agent.wire.results import LoadRecord as LoadRecord
from scbp_agent.wire.results import ModelSamples as ModelSamples
from scbp_agent.wire.results import NodeTime as NodeTime
from scbp_agent.wire.results import PairedResult as PairedResult
from scbp_agent.wire.results import Phase as Phase
from scbp_agent.wire.results import SoloResult as SoloResult
from scbp_agent.wire.results import build_result as build_result
from scbp_agent.wire.results import infer_result as infer_result
from scbp_agent.wire.results import layers_result as layers_result
from scbp_agent.wire.results import paired_result as paired_result
from scbp_agent.wire.results import solo_result as solo_result

PROTOCOL_VERSION = 4
MAX_LINE_BYTES = 64 * 1024 * 1024

HELLO = "hello"
LOCK = "lock"
LOCK_CLOCKS = "lock_clocks"
RESTORE_CLOCKS = "restore_clocks"
HAVE = "have"
ADMIT = "admit"
MEASURE_BUILD = "measure_build"
MEASURE_PAIRED = "measure_paired"
MEASURE_SOLO = "measure_solo"
MEASURE_LAYERS = "measure_layers"
INFER = "infer"
SHUTDOWN = "shutdown"

# Failure kinds: the agent's half of the host's FailureKind.
OUT_OF_MEMORY = "OUT_OF_MEMORY"
TIMEOUT = "TIMEOUT"
WORKER_CRASHED = "WORKER_CRASHED"
BAD_MODEL = "BAD_MODEL"
HASH_MISMATCH = "HASH_MISMATCH"
BLOB_MISSING = "BLOB_MISSING"
DISK_FULL = "DISK_FULL"
BOARD_BUSY = "BOARD_BUSY"
CAPABILITY_MISSING = "CAPABILITY_MISSING"
PROTOCOL_MISMATCH = "PROTOCOL_MISMATCH"
BAD_REQUEST = "BAD_REQUEST"
BUILD_FAILED = "BUILD_FAILED"
NO_TACTIC = "NO_TACTIC"
ENGINE_REFUSED = "ENGINE_REFUSED"
ENGINE_VERSION = "ENGINE_VERSION"
AGENT_ERROR = "AGENT_ERROR"

# How a blob was packed for the way: as it is, or as an .xz stream.
RAW = "raw"
XZ = "xz"
