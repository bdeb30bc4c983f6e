"""ONNX -> a TensorRT engine, on the board that will run it."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from scbp_agent import memory, timing, wire
from scbp_agent.probing import Source
from scbp_agent.runtimes import tensorrt_failures
from scbp_agent.runtimes.tensorrt_api import Api

MIB = 1024 * 1024
# How much scratch memory the builder gets where nobody says: as much as leaves half of the memory to everything else.
WORKSPACES = (1024 * MIB, 512 * MIB, 256 * MIB, 128 * MIB)

Built = NamedTuple("Built", [("content", bytes), ("timing", Optional[bytes]), ("build_ns", int), ("notes", List[str])])
Built.__doc__ = """An engine; ``timing`` is what the builder knows by now, None where it keeps nothing."""


def build(api: Api, onnx: bytes, settings: Dict[str, Any], timing_cache: bytes, killed: int) -> Built:
    """Build an engine, with less workspace where memory does not suffice.

    Args:
        api: the board's TensorRT.
        onnx: the model.
        settings: as resolved, every one of them.
        timing_cache: what earlier builds have timed; empty begins anew.
        killed: how many builds of this model the kernel has just killed; for each, one more workspace is passed over.

    Raises:
        AgentFailure: BAD_MODEL, OUT_OF_MEMORY, NO_TACTIC, CAPABILITY_MISSING or BUILD_FAILED, with a remedy.
    """
    available = memory.available_bytes(Source().root)
    workspaces = _after_kills(_workspaces(settings["workspace_bytes"], available, len(onnx)), killed)
    started_ns = timing.now_ns()
    network = _Network(api, onnx, settings)
    content, used = _first_that_fits(workspaces, lambda size: network.serialized(size, timing_cache))
    notes = tensorrt_failures.build_notes(api.logger.take())
    notes += ["built with a workspace of %d MiB while %s were free" % (used // MIB, _mebibytes(available))]
    if killed:
        notes.append("the kernel had killed %d builds with a larger workspace" % killed)
    return Built(content, network.timing, timing.now_ns() - started_ns, notes)


def _workspaces(wanted: Optional[int], available: Optional[int], model_bytes: int) -> List[int]:
    """Return the sizes to try: the one that was asked for, else every one that leaves half of the memory."""
    # The parser holds the weights once, the builder once more.
    least = (wanted or WORKSPACES[-1]) + 2 * model_bytes
    if available is not None and available < least:
        message = "%d MiB of memory are free; to build this model takes at least %d" % (available // MIB, least // MIB)
        hint = "end what else runs on the board; a desktop takes several hundred MiB"
        raise wire.AgentFailure(wire.OUT_OF_MEMORY, message, hint)
    if wanted is not None:
        return [wanted]
    return [size for size in WORKSPACES if available is None or size <= available // 2] or [WORKSPACES[-1]]


def _after_kills(sizes: List[int], killed: int) -> List[int]:
    """Return what is left to try: the kernel kills without a word, so the largest counts as what was too much."""
    if killed >= len(sizes):
        message = "the kernel killed the build, most likely for lack of memory, at last with a workspace of %d MiB"
        raise wire.AgentFailure(wire.OUT_OF_MEMORY, message % (sizes[-1] // MIB), tensorrt_failures.LESS_WORKSPACE)
    return sizes[killed:]


def _first_that_fits(sizes: List[int], attempt: Callable[[int], bytes]) -> Any:
    for size in sizes[:-1]:
        try:
            return attempt(size), size
        except wire.AgentFailure as failure:
            if failure.kind != wire.OUT_OF_MEMORY:
                raise
    return attempt(sizes[-1]), sizes[-1]


class _Network(object):
    """A parsed model. TensorRT keeps neither parser nor builder alive by itself, so this does."""

    def __init__(self, api: Api, onnx: bytes, settings: Dict[str, Any]) -> None:
        self._api = api
        self._settings = settings
        self._builder = _created(api, lambda: api.library.Builder(api.logger))
        self._network = api.create_network(self._builder)
        self._parser = api.library.OnnxParser(self._network, api.logger)
        self.timing: Optional[bytes] = None
        if not self._parser.parse(onnx):
            raise _refusal(self._parser)
        self._require_precision()

    def serialized(self, workspace_bytes: int, timing_cache: bytes) -> bytes:
        """Return the engine's bytes; raises a typed failure where the builder returns None."""
        api, config = self._api, self._configured(workspace_bytes)
        keeps_times = self._settings["timing_cache"] and api.load_timing_cache(config, timing_cache)
        api.logger.take()
        content = self._builder.build_serialized_network(self._network, config)
        if content is None:
            hint = "see the agent's stderr, or try trtexec on the board"
            raise tensorrt_failures.failure(api.logger.take(), wire.BUILD_FAILED, "TensorRT built no engine", hint)
        if keeps_times:
            self.timing = api.timing_cache(config)
        return bytes(content)

    def _configured(self, workspace_bytes: int) -> Any:
        api, settings, config = self._api, self._settings, self._builder.create_builder_config()
        api.limit_workspace(config, workspace_bytes)
        api.set_precision(config, settings["precision"], settings["tf32"])
        api.keep_layer_names(config)
        if settings["optimization_level"] is not None:
            api.set_optimization_level(config, settings["optimization_level"])
        if settings["compute_capability"] != "current":
            api.set_target(config, settings["compute_capability"])
        self._fix_open_batch(config)
        return config

    def _fix_open_batch(self, config: Any) -> None:
        """Settle an open batch size to 1, since an engine is fastest for the one shape that it is made for."""
        tensor = self._network.get_input(0)
        shape = tuple(tensor.shape)
        if all(size > 0 for size in shape):
            return
        if any(size <= 0 for size in shape[1:]):
            message = "the model takes %s %r; expected fixed sizes beside the batch" % (tensor.name, list(shape))
            raise wire.AgentFailure(wire.BAD_MODEL, message, "export it with a fixed input shape")
        profile, one = self._builder.create_optimization_profile(), (1,) + shape[1:]
        profile.set_shape(tensor.name, one, one, one)
        config.add_optimization_profile(profile)

    def _require_precision(self) -> None:
        precision = self._settings["precision"]
        missing = self._api.missing_precision(self._builder, precision)
        if missing is not None:
            message = "this GPU calculates no faster in %s than in float32" % missing
            raise wire.AgentFailure(wire.CAPABILITY_MISSING, message, "choose another precision")
        if self._api.lacks_types(self._network, precision):
            message = "precision %s, but TensorRT %s finds it nowhere in the model" % (precision, self._api.version)
            hint = "int8 takes Q/DQ nodes; from TensorRT 10.12 on, fp16 takes a model whose own tensors are half"
            raise wire.AgentFailure(wire.BAD_MODEL, message, hint)


def _created(api: Api, create: Callable[[], Any]) -> Any:
    try:
        return create()
    except (RuntimeError, TypeError) as error:
        # The bindings say "factory function returned nullptr" in one of these two, by their version.
        lines = api.logger.take() + [str(error)]
        raise tensorrt_failures.failure(lines, wire.CAPABILITY_MISSING, "TensorRT does not start")


def _refusal(parser: Any) -> wire.AgentFailure:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = " ".join(errors[0].desc().split())[:300] if errors else "no reason given"
    hint = "the operator or the opset may be newer than this TensorRT; export it at the profile's opset"
    return wire.AgentFailure(wire.BAD_MODEL, "TensorRT cannot read the model: %s" % said, hint)


def _mebibytes(size_bytes: Optional[int]) -> str:
    return "an unknown number of MiB" if size_bytes is None else "%d MiB" % (size_bytes // MIB)
