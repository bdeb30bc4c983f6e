"""Every generation of TensorRT's API, built from the table: build, load, run and profile, and nothing deprecated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorrt_standin import TABLE, VERSIONS, Standin, install

from scbp_agent import wire
from scbp_agent.runtimes import base, tensorrt_api, tensorrt_build, tensorrt_model

MIB = tensorrt_build.MIB
BEFORE_10 = ("8.0", "8.2", "8.5", "8.6")
TYPED_BY_FLAGS = (*BEFORE_10, "10.3")
IMAGE = np.random.default_rng(5).standard_normal((1, 3, 8, 8)).astype(np.float32)


class Board:
    """A board with one generation of TensorRT, and one small model on it."""

    def __init__(self, module: Standin, folder: Path, onnx: bytes) -> None:
        self.module, self.folder = module, folder
        self.path = folder / "model.onnx"
        self.path.write_bytes(onnx)

    def prepare(self, **settings) -> base.Prepared:
        options = self.options(**settings)
        return base.prepare("onnx", {"model": str(self.path)}, options, str(self.folder / "engines"))

    def open(self, **settings) -> base.Model:
        prepared = self.prepare(**settings)
        return base.open_model(prepared.format, prepared.paths, self.options(**settings))

    def options(self, **settings) -> wire.RuntimeOptions:
        return wire.RuntimeOptions(self.module.runtime, 1, settings)

    def built(self, **settings) -> SimpleNamespace:
        """Build, and return what the configuration was."""
        self.prepare(**settings)
        return SimpleNamespace(**self.module.configs[-1])

    def failure(self, **settings) -> wire.AgentFailure:
        with pytest.raises(wire.AgentFailure) as caught:
            self.prepare(**settings)
        return caught.value


@pytest.fixture
def make(monkeypatch, tmp_path, make_onnx):
    def make(generation: str = "8.2", cuda: str = "pycuda", onnx: bytes = b"", **gpu) -> Board:
        return Board(install(monkeypatch, generation, cuda, **gpu), tmp_path, onnx or make_onnx(8))

    return make


@pytest.mark.parametrize("generation", VERSIONS)
@pytest.mark.parametrize("cuda", ["pycuda", "cuda-python"])
def test_the_whole_way_uses_nothing_that_is_removed_or_deprecated(make, generation, cuda, tmp_path):
    board = make(generation, cuda)
    with board.open() as model:
        assert [output.shape for output in model.run(IMAGE)] == [(1, 8)]
        assert model.device_memory_bytes() > 0
    prepared = board.prepare()
    with base.open_profiled(prepared.format, prepared.paths, board.options(), str(tmp_path)) as model:
        for _ in range(3):
            model.run(IMAGE)
        nodes = model.node_times(2)
    # 8.0 has no inspector to tell what a layer is.
    kind = "TensorRT" if generation == "8.0" else "kgen"
    assert {(node.op_type, node.latency_ns) for node in nodes} == {(kind, 50_000_000 // len(nodes))}
    assert board.module.executed == {"execute_async_v2" if generation in ("8.0", "8.2") else "execute_async_v3"}
    assert len(board.module.plugins_for) == (generation != "rtx"), "plugins are registered once a process"
    assert board.module.deprecated_uses == []
    assert board.module.gpu.memory == {}, "device memory was not given back"


@pytest.mark.parametrize("generation", VERSIONS)
def test_a_name_that_is_removed_fails_in_the_stand_in(make, generation):
    module = make(generation).module
    removed = [
        (owner, member)
        for owner, members in TABLE.items()
        for member, states in members.items()
        if generation not in {state.removesuffix("d") for state in states.split()}
    ]
    assert removed
    for owner, member in removed:
        assert not hasattr(getattr(module, owner), member)
    config = module.IBuilderConfig()
    if ("IBuilderConfig", "max_workspace_size") in removed:
        with pytest.raises(AttributeError, match="max_workspace_size"):
            config.max_workspace_size = 1


def test_the_stand_in_notes_what_is_deprecated(make):
    module = make("8.6").module
    module.IBuilderConfig().max_workspace_size = 1
    assert module.deprecated_uses == ["IBuilderConfig.max_workspace_size"]
    module = make("10.13").module
    module.Builder(tensorrt_api.find("tensorrt").logger).create_network(1)
    assert module.deprecated_uses == ["NetworkDefinitionCreationFlag.EXPLICIT_BATCH"]


@pytest.mark.parametrize("generation", VERSIONS)
def test_a_network_is_created_as_the_generation_wants_it(make, generation):
    wanted = {"10.13": ["STRONGLY_TYPED"], **{own: ["EXPLICIT_BATCH"] for own in BEFORE_10}}
    assert make(generation).built().network == wanted.get(generation, [])


@pytest.mark.parametrize("generation", VERSIONS)
def test_the_workspace_is_always_bounded(make, generation):
    assert make(generation).built(workspace_bytes=77 * MIB).workspace_bytes == 77 * MIB


@pytest.mark.parametrize("generation", TYPED_BY_FLAGS)
def test_where_flags_make_the_types_they_are_set(make, generation):
    board = make(generation)
    assert board.built().flags == {"TF32"}
    assert board.built(precision="fp16", tf32=False).flags == {"FP16"}


@pytest.mark.parametrize("generation", sorted(set(VERSIONS) - set(TYPED_BY_FLAGS)))
def test_where_the_model_makes_the_types_a_model_without_them_is_refused(make, generation):
    board = make(generation)
    failure = board.failure(precision="fp16")
    assert failure.kind == wire.BAD_MODEL
    assert "a model whose own tensors are half" in failure.hint
    assert board.module.deprecated_uses == []


def test_a_precision_that_the_gpu_lacks_is_a_missing_capability(make):
    board = make("8.2")
    board.module.fast = {"fp16"}
    assert (board.failure(precision="int8").kind, "INT8" in board.failure(precision="int8").message) == (
        wire.CAPABILITY_MISSING,
        True,
    )


@pytest.mark.parametrize("generation", VERSIONS)
def test_int8_without_quantize_nodes_is_refused(make, generation):
    assert make(generation).failure(precision="int8").kind == wire.BAD_MODEL


@pytest.mark.parametrize("generation", VERSIONS)
def test_the_optimisation_level_is_set_or_missing(make, generation):
    board = make(generation)
    if generation in ("8.0", "8.2", "8.5"):
        assert board.failure(optimization_level=2).kind == wire.CAPABILITY_MISSING
    else:
        assert board.built(optimization_level=2).level == 2


@pytest.mark.parametrize("generation", sorted(set(VERSIONS) - {"rtx"}))
def test_building_for_another_gpu_is_a_missing_capability(make, generation):
    assert make(generation).failure(compute_capability="SM86").kind == wire.CAPABILITY_MISSING


# The timing cache


@pytest.mark.parametrize("generation", sorted(set(VERSIONS) - {"rtx"}))
def test_all_models_share_what_was_timed(make, generation, make_onnx):
    board = make(generation)
    first = board.built().learnt_from
    board.path.write_bytes(make_onnx(16))
    assert (first, board.built().learnt_from) == (VERSIONS[generation].encode(), VERSIONS[generation].encode() + b"+")


def test_builds_that_are_to_vary_time_for_themselves(make):
    board = make()
    assert not board.prepare().cached
    assert board.prepare().cached
    for number in (1, 2):
        assert not board.prepare(build=number).cached
        assert board.module.configs[-1]["learnt_from"] == VERSIONS["8.2"].encode()
        assert board.prepare(build=number).cached
    assert board.built(build=3).learnt_from == VERSIONS["8.2"].encode()


def test_no_timing_cache_where_none_is_wanted(make):
    assert make().built(timing_cache=False).learnt_from == b""


def test_a_damaged_timing_cache_is_begun_anew(make, make_onnx):
    board = make()
    board.prepare()
    (timing,) = (board.folder / "engines").glob("*.timing")
    timing.write_bytes(b"damaged")
    board.path.write_bytes(make_onnx(16))
    assert board.built().learnt_from == VERSIONS["8.2"].encode()
    assert timing.read_bytes() == VERSIONS["8.2"].encode() + b"+"


# Memory

OUT_OF_MEMORY = (
    "[TRT] 2: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory (no further information)"
)
NO_TACTIC = "10: [optimizer.cpp::computeCosts::1981] Error Code 10: Could not find any implementation for node Conv_0."


def free_memory(tmp_path, monkeypatch, mebibytes: int) -> None:
    (tmp_path / "root" / "proc").mkdir(parents=True)
    (tmp_path / "root" / "proc" / "meminfo").write_text(f"MemAvailable:  {mebibytes * 1024} kB\n")
    monkeypatch.setenv("SCBP_BOARD_ROOT", str(tmp_path / "root"))


@pytest.mark.parametrize(("free", "first"), [(3000, 1024), (1900, 512), (600, 256), (200, 128)])
def test_the_workspace_leaves_half_of_the_memory(make, tmp_path, monkeypatch, free, first):
    board = make()
    free_memory(tmp_path, monkeypatch, free)
    assert board.built().workspace_bytes == first * MIB
    assert f"a workspace of {first} MiB while {free} MiB were free" in board.prepare().notes[-1]


def test_a_build_without_memory_is_not_begun(make, tmp_path, monkeypatch):
    board = make()
    free_memory(tmp_path, monkeypatch, 100)
    assert board.failure().kind == wire.OUT_OF_MEMORY
    assert board.module.configs == []


def test_a_build_that_finds_too_little_memory_goes_on_with_less(make, tmp_path, monkeypatch):
    board = make()
    free_memory(tmp_path, monkeypatch, 3000)
    board.module.refuses = lambda state: OUT_OF_MEMORY if state["workspace_bytes"] > 256 * MIB else None
    assert board.built().workspace_bytes == 256 * MIB
    assert [own["workspace_bytes"] // MIB for own in board.module.configs] == [1024, 512, 256]


def test_a_workspace_that_was_asked_for_is_not_made_smaller(make):
    board = make()
    board.module.refuses = lambda state: OUT_OF_MEMORY
    failure = board.failure(workspace_bytes=512 * MIB)
    assert (failure.kind, len(board.module.configs)) == (wire.OUT_OF_MEMORY, 1)
    assert "workspace_bytes" in failure.hint


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (OUT_OF_MEMORY, wire.OUT_OF_MEMORY),
        ("Requested amount of GPU memory (1048576 bytes) could not be allocated.", wire.OUT_OF_MEMORY),
        (NO_TACTIC, wire.NO_TACTIC),
        ("cannot write: No space left on device", wire.DISK_FULL),
        ("CUDA initialization failure with error: 100", wire.CAPABILITY_MISSING),
        ("4: [network.cpp::validate::3062] Error Code 4: Internal Error", wire.BUILD_FAILED),
    ],
)
def test_a_builder_that_returns_none_is_a_typed_failure_with_a_remedy(make, line, kind):
    board = make("8.6")
    board.module.refuses = lambda state: line
    failure = board.failure()
    assert failure.kind == kind
    assert line[-40:] in failure.message
    assert failure.hint


def test_skipped_tactics_are_noted(make):
    board = make()
    board.module.build_lines = ["Skipping tactic 0x1 due to insufficient memory on requested size of 9 detected."] * 2
    assert board.prepare().notes[0].startswith("2 tactics were skipped for lack of memory")
    assert board.prepare().cached
    assert board.prepare().notes[0].startswith("2 tactics were skipped for lack of memory")


# The model


def test_the_parsers_refusal_is_one_line(make, make_onnx):
    board = make()
    board.module.max_opset = 12
    failure = board.failure()
    assert (failure.kind, failure.message) == (
        wire.BAD_MODEL,
        "TensorRT cannot read the model: opset 13 is newer than 12",
    )


@pytest.mark.parametrize(("generation", "opset"), [("8.0", 13), ("8.6", 17), ("10.3", 20), ("11.0", 24), ("rtx", None)])
def test_the_newest_opset(make, generation, opset):
    assert base.load(make(generation).module.runtime).max_opset() == opset


def test_an_engine_of_another_tensorrt_is_its_own_failure(make):
    board = make("8.6")
    prepared = board.prepare()
    path = Path(prepared.paths["engine"])
    path.write_bytes(path.read_bytes().replace(b"8.6.1", b"8.5.2"))
    with pytest.raises(wire.AgentFailure) as caught, board_opened(prepared):
        pass
    assert caught.value.kind == wire.ENGINE_VERSION
    assert "two TensorRTs are installed" in caught.value.hint


def board_opened(prepared: base.Prepared) -> base.Model:
    return base.open_model(prepared.format, prepared.paths, wire.RuntimeOptions("tensorrt", 1, {}))


def test_memory_that_the_gpu_does_not_have_is_out_of_memory(make):
    for cuda in ("pycuda", "cuda-python"):
        board = make("10.3", cuda)
        prepared = board.prepare()
        board.module.gpu.limit_bytes = 16
        with pytest.raises(wire.AgentFailure, match="the GPU's memory is exhausted") as caught, board_opened(prepared):
            pass
        assert caught.value.kind == wire.OUT_OF_MEMORY


# Times


@pytest.mark.parametrize("cuda", ["pycuda", "cuda-python"])
def test_the_three_parts_of_a_run_are_timed_apart(make, cuda):
    with make("10.3", cuda).open() as model:
        for _ in range(3):
            model.run(IMAGE)
        times = model.device_times_ns()
    assert times[:3] == ([2_000] * 3, [50_000_000] * 3, [2_000] * 3)
    assert all(enqueue_ns > 0 for enqueue_ns in times.enqueue_ns)


RUNS = tensorrt_model.RUNS_TO_JUDGE + 3


def run_bound(board: Board, **settings) -> tuple[str, ...]:
    """Run a network so fast that giving it to the GPU takes longer; returns the notes."""
    board.module.gpu.compute_ns = 1
    with board.open(**settings) as model:
        expected = model.run(IMAGE)[0]
        for _ in range(RUNS):
            np.testing.assert_array_equal(model.run(IMAGE)[0], expected)
        assert len(model.device_times_ns().compute_ns) == RUNS + 1
        return model.notes


def test_what_the_host_holds_up_becomes_a_graph(make):
    board = make("10.3", "cuda-python")
    assert run_bound(board) == (f"runs as a CUDA graph from run {tensorrt_model.RUNS_TO_JUDGE + 1} on",)
    assert board.module.gpu.launches == RUNS + 1 - tensorrt_model.RUNS_TO_JUDGE


def test_without_graphs_it_says_so(make):
    (note,) = run_bound(make("8.2", "pycuda"))
    assert note.startswith("to enqueue takes ")
    assert note.endswith("pycuda 2022.1 captures no CUDA graph")


def test_a_graph_that_is_not_wanted_is_not_made(make):
    board = make("10.3", "cuda-python")
    (note,) = run_bound(board, cuda_graph="never")
    assert (board.module.gpu.launches, note.endswith("a CUDA graph could help")) == (0, True)


@pytest.mark.parametrize(("wanted", "launches"), [("auto", 0), ("always", RUNS - tensorrt_model.RUNS_TO_JUDGE)])
def test_a_slow_network_becomes_a_graph_only_when_asked_for(make, wanted, launches):
    board = make("10.3", "cuda-python")
    with board.open(cuda_graph=wanted) as model:
        for _ in range(RUNS):
            model.run(IMAGE)
    assert board.module.gpu.launches == launches
