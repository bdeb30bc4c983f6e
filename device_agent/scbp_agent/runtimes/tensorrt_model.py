"""An engine that is loaded and run, each run timed on the device in three parts."""

import statistics
from typing import Any, Callable, Dict, List, Optional

from scbp_agent import timing, wire
from scbp_agent.runtimes import base, cuda, tensorrt_failures
from scbp_agent.runtimes.tensorrt_api import Api, Tensor

# numpy's arrays; the agent's core must import without numpy.
Array = Any

# trtexec warns beyond this share. [NVIDIA/TensorRT v10.3.0 samples/common/sampleReporting.cpp]
ENQUEUE_BOUND_SHARE = 0.8
# So many runs tell how the host keeps up. A model that it holds up takes a few ms, and these are warm-ups.
RUNS_TO_JUDGE = 8


class _Buffer(object):
    """One tensor's memory on both sides."""

    def __init__(self, device: cuda.Device, tensor: Tensor, shape: Any) -> None:
        self.host: Array = device.pinned(shape, tensor.dtype)
        self.device = device.allocate(self.host.nbytes)
        self.tensor = tensor


class EngineModel(base.Model):
    """An engine file that TensorRT runs.

    Args:
        api: the board's TensorRT.
        path: the engine, verified.
        cuda_graph: ``auto`` captures a graph where the host would hold the device up, ``always`` and ``never`` do not
            ask.
    """

    def __init__(self, api: Api, path: str, cuda_graph: str) -> None:
        self._api = api
        self._path = path
        self._cuda_graph = cuda_graph
        self._forget()

    def _forget(self) -> None:
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Any = None
        self._events: List[Any] = []
        self._buffers: List[_Buffer] = []
        self._input: Any = None
        self._outputs: List[_Buffer] = []
        self._enqueue: Callable[[], Any] = lambda: False
        self._times = base.DeviceTimes([], [], [], [])
        self._runs = 0

    def __enter__(self) -> "EngineModel":
        device = cuda.open_device()
        self._engine = self._deserialized()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failure(wire.OUT_OF_MEMORY, "the engine's scratch memory finds no room")
        self._allocate(device)
        self._stream = device.stream()
        self._events = [self._stream.event() for _ in range(4)]
        self._bind()
        return self

    def __exit__(self, *_exception: Any) -> None:
        # In this order: a context must not outlive its engine.
        self._enqueue = lambda: False
        self._context = None
        self._engine = None
        self._forget()

    def run(self, array: Array) -> List[Array]:
        """Run one input; returns all outputs."""
        stream, events, copied_in = self._stream, self._events, self._input
        copied_in.host[...] = array
        stream.mark(events[0])
        stream.copy_in(copied_in.device, copied_in.host)
        stream.mark(events[1])
        started_ns = timing.now_ns()
        self._enqueue()
        enqueue_ns = timing.now_ns() - started_ns
        stream.mark(events[2])
        for buffer in self._outputs:
            stream.copy_out(buffer.host, buffer.device)
        stream.mark(events[3])
        stream.synchronize()
        self._note(enqueue_ns)
        # The next run writes over the buffers.
        return [buffer.host.copy() for buffer in self._outputs]

    def device_times_ns(self) -> Optional[base.DeviceTimes]:
        """Return the times of the runs since the last call."""
        times, self._times = self._times, base.DeviceTimes([], [], [], [])
        return times

    def device_memory_bytes(self) -> Optional[int]:
        """Return the context's scratch memory and the buffers; weights are not in it."""
        return self._api.activation_bytes(self._engine) + sum(int(buffer.host.nbytes) for buffer in self._buffers)

    def _deserialized(self) -> Any:
        library, logger = self._api.library, self._api.logger
        with open(self._path, "rb") as source:
            content = source.read()
        logger.take()
        # The runtime must live as long as its engine.
        self._runtime = library.Runtime(logger)
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise self._failure(wire.ENGINE_REFUSED, "TensorRT does not load the engine")
        return engine

    def _allocate(self, device: cuda.Device) -> None:
        tensors = self._api.tensors(self._engine)
        inputs = [tensor for tensor in tensors if tensor.is_input]
        if len(inputs) != 1:
            names = ", ".join(tensor.name for tensor in inputs)
            raise wire.AgentFailure(wire.BAD_MODEL, "the model takes (%s); expected one tensor" % names)
        shape = self._api.shape(self._context, inputs[0])
        if -1 in shape:
            # The build has settled an open batch size to 1.
            shape = tuple(1 if size == -1 else size for size in shape)
            self._api.set_input_shape(self._context, inputs[0], shape)
        self._buffers = [_Buffer(device, tensor, self._api.shape(self._context, tensor)) for tensor in tensors]
        (self._input,) = [buffer for buffer in self._buffers if buffer.tensor.is_input]
        self._outputs = [buffer for buffer in self._buffers if not buffer.tensor.is_input]
        self.input_shape, self.dtype = shape, inputs[0].dtype

    def _bind(self) -> None:
        enqueue = self._api.enqueue(self._context, [int(buffer.device) for buffer in self._buffers])
        handle = self._stream.handle

        def enqueue_once() -> None:
            if not enqueue(handle):
                raise self._failure(wire.WORKER_CRASHED, "TensorRT did not run the engine")

        self._enqueue = enqueue_once

    def _note(self, enqueue_ns: int) -> None:
        times, events = self._times, self._events
        times.h2d_ns.append(self._stream.elapsed_ns(events[0], events[1]))
        times.compute_ns.append(self._stream.elapsed_ns(events[1], events[2]))
        times.d2h_ns.append(self._stream.elapsed_ns(events[2], events[3]))
        times.enqueue_ns.append(enqueue_ns)
        self._runs += 1
        if self._runs == RUNS_TO_JUDGE:
            self._judge(statistics.median(times.enqueue_ns), statistics.median(times.compute_ns))

    def _judge(self, enqueue_ns: float, compute_ns: float) -> None:
        bound = enqueue_ns > ENQUEUE_BOUND_SHARE * compute_ns
        if self._cuda_graph == "always" or (self._cuda_graph == "auto" and bound):
            self._capture()
        elif bound:
            self._say_bound("a CUDA graph could help")

    def _capture(self) -> None:
        if not cuda.open_device().can_capture:
            self._say_bound("%s captures no CUDA graph" % cuda.open_device().library)
            return
        self._enqueue = self._stream.capture(self._enqueue)
        self.notes += ("runs as a CUDA graph from run %d on" % (self._runs + 1),)

    def _say_bound(self, what: str) -> None:
        share = statistics.median(self._times.enqueue_ns) / max(1.0, statistics.median(self._times.compute_ns))
        told = "to enqueue takes %d %% of the GPU's time, so the CPU may decide the latency; %s"
        self.notes += (told % (round(100 * share), what),)

    def _failure(self, kind: str, message: str) -> wire.AgentFailure:
        return tensorrt_failures.failure(self._api.logger.take(), kind, message)


class ProfiledEngineModel(EngineModel, base.ProfiledModel):
    """An engine whose layers report their times, which makes it slower."""

    def __init__(self, api: Api, path: str) -> None:
        super().__init__(api, path, "never")
        self._layer_runs: List[Dict[str, float]] = []

    def __enter__(self) -> "ProfiledEngineModel":
        super().__enter__()
        # TensorRT holds on to no profiler by itself.
        self._profiler = self._api.make_profiler(self._report)
        self._context.profiler = self._profiler
        return self

    def run(self, array: Array) -> List[Array]:
        """Run one input under the profiler; returns all outputs."""
        self._layer_runs.append({})
        return super().run(array)

    def node_times(self, runs: int) -> List[wire.NodeTime]:
        """Return each layer's median over the last ``runs`` runs."""
        counted, types = self._layer_runs[-runs:], self._api.layer_types(self._engine)
        return [
            wire.NodeTime(name, types.get(name, "") or "TensorRT", round(statistics.median(times) * 1e6))
            for name, times in ((name, [run[name] for run in counted if name in run]) for name in counted[-1])
        ]

    def _report(self, layer_name: str, ms: float) -> None:
        run = self._layer_runs[-1]
        run[layer_name] = run.get(layer_name, 0.0) + ms
