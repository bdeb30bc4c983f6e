from __future__ import annotations

import itertools

import numpy as np
import pytest

from scbp_host.latency.pairing import PairedLatencies, fit_paired

WIDTHS = np.asarray(list(itertools.product((1.0, 0.75, 0.5, 0.25), repeat=3)))[::2]
LATENCY_NS = 1e6 * (0.1 + 0.3 * WIDTHS[:, 0] ** 2 + 0.6 * WIDTHS[:, 1] * WIDTHS[:, 2])
RANDOM = np.random.default_rng(3)
NOISE = np.exp(RANDOM.normal(0.0, 0.2, len(WIDTHS)))


def test_noise_that_meets_both_models_is_divided_out() -> None:
    reference = 1e6 * NOISE
    latencies = PairedLatencies(LATENCY_NS / 1e6, LATENCY_NS * NOISE, reference)
    model, weight = fit_paired(WIDTHS, latencies)
    assert weight == 1.0
    assert model.leave_one_out().within_10_percent == 1.0


def test_noise_of_the_reference_alone_is_left_out() -> None:
    reference = 1e6 * NOISE
    latencies = PairedLatencies(LATENCY_NS / reference, LATENCY_NS, reference)
    model, weight = fit_paired(WIDTHS, latencies)
    assert weight == 0.0
    assert model.leave_one_out().within_10_percent == 1.0


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_scale_is_that_of_the_paired_ratios(weight: float) -> None:
    ratio = LATENCY_NS / 1e6
    latencies = PairedLatencies(ratio, 0.7 * LATENCY_NS, np.full(len(ratio), 0.9e6))
    assert latencies.relative(weight) == pytest.approx(ratio)
