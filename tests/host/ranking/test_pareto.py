from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scbp_host.domain.measurement import Interval
from scbp_host.domain.resources import MEMORY
from scbp_host.ranking.pareto import Objectives, dominates, pareto_front

# Few distinct figures, so that ties and near ties come up all the time.
figures = st.integers(1, 4)


@st.composite
def intervals(draw):
    value = draw(figures)
    return Interval(value, value - draw(st.sampled_from((0.0, 0.4, 1.0))), value + draw(st.sampled_from((0.0, 0.4, 1))))


objectives = st.builds(
    Objectives,
    top1=figures.map(lambda count: count / 10),
    latency_ms=intervals(),
    resources=figures.map(lambda peak: {MEMORY: float(peak)}),
    onnx_bytes=figures,
)
crowds = st.lists(objectives, min_size=1, max_size=12)


def on_front(points):
    return [point for point, kept in zip(points, pareto_front(points), strict=True) if kept]


@given(objectives)
def test_nothing_dominates_itself(point):
    assert not dominates(point, point)


@given(objectives, objectives)
def test_two_never_dominate_each_other(first, second):
    assert not (dominates(first, second) and dominates(second, first))


@given(crowds)
def test_the_front_is_never_empty(points):
    assert on_front(points)


@given(crowds)
def test_the_best_of_each_objective_is_on_the_front(points):
    front = on_front(points)
    for objective in (
        lambda own: -own.top1,
        lambda own: own.latency_ms.value,
        lambda own: own.memory_mb,
        lambda own: own.onnx_bytes,
    ):
        assert min(map(objective, front)) == min(map(objective, points))


@given(crowds)
def test_who_is_not_on_the_front_is_dominated_by_one_who_is(points):
    front = on_front(points)
    dropped = [point for point in points if point not in front]
    assert all(any(dominates(own, point) for own in points) for point in dropped)
    assert not any(dominates(own, other) for own in front for other in front)


@given(objectives, st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6))
def test_overlapping_latencies_alone_drop_nobody(point, offsets):
    noisy = [replace(point, latency_ms=Interval(10 + offset, 9.0, 11.0)) for offset in offsets]
    assert all(pareto_front(noisy))


@given(objectives)
def test_a_latency_beyond_the_noise_drops_the_slower(point):
    fast = replace(point, latency_ms=Interval(5.0, 4.9, 5.1))
    slow = replace(point, latency_ms=Interval(5.3, 5.2, 5.4))
    assert pareto_front([fast, slow]) == [True, False]


@given(objectives)
def test_a_slower_one_does_not_dominate_by_being_smaller(point):
    slow_and_small = replace(point, latency_ms=point.latency_ms.scaled(1.01), onnx_bytes=point.onnx_bytes - 1)
    assert pareto_front([point, slow_and_small]) == [True, True]
