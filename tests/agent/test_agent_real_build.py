"""A real engine, built by an agent: TensorRT-RTX's builder needs no GPU; running what it built does."""

from __future__ import annotations

from rtx import rtx_folder

from scbp_agent import wire


def test_a_build_is_measured_in_a_worker_of_its_own_and_found_the_next_time(start_agent, make_onnx):
    agent = start_agent(PYTHONPATH=str(rtx_folder())).greet()
    options = {"runtime": "tensorrt-rtx", "threads": 1, "settings": {"compute_capability": "SM86"}}
    plan = {"model": agent.put_model(make_onnx(8)), "options": options, "deadline_s": 120.0}
    built = wire.build_result(agent.result(wire.MEASURE_BUILD, **plan))
    assert (built.cached, built.conditions.keys()) == (False, {"before", "during", "after"})
    assert built.phase is not None
    assert 0 < built.build_ns <= built.phase.duration_ns
    assert built.phase.peak_rss_bytes > built.baseline_rss_bytes > 0
    again = wire.build_result(agent.result(wire.MEASURE_BUILD, **plan))
    assert (again.cached, again.phase, again.build_ns) == (True, None, built.build_ns)
    error = agent.error(wire.MEASURE_BUILD, **plan, memory_limit_bytes=10**10)
    assert error["kind"] == wire.BAD_REQUEST
    assert "CUDA reserves address space" in error["message"]
