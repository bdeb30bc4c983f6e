import numpy as np
import pytest

from scbp_host.domain.device import Hardware
from scbp_host.domain.precision import Precision
from scbp_host.latency.roofline import roofline

# A first layer of much arithmetic, a second one of many weights.
MACS, NUMBERS = np.asarray([1e9, 1e6]), np.asarray([1e6, 1e7])


class TwoLayers:
    """The first layer belongs to the first superblock, the second to both."""

    def of(self, widths):
        shares = np.stack([widths[:, 0], widths[:, 0] * widths[:, 1]], axis=1)
        return MACS * shares, NUMBERS * shares


BOTH = Hardware(peak_fp32_gflops=200.0, peak_fp16_gflops=800.0, bandwidth_gb_s=10.0)
WIDTHS = np.asarray([[1.0, 1.0], [0.5, 1.0], [1.0, 0.5]])


def test_each_layer_takes_the_longer_of_arithmetic_and_traffic():
    # 2 * 1e9 / 200e9 = 10 ms of arithmetic in the first, 4 * 1e7 / 10e9 = 4 ms of traffic in the second.
    found = roofline(TwoLayers(), 2, BOTH)(WIDTHS)
    assert found.tolist() == [[1.0], [0.5], [pytest.approx(12 / 14)]]


def test_a_precision_has_its_own_peak_and_size_of_a_number():
    # In fp16: 2.5 ms of arithmetic, 2 ms of traffic.
    found = roofline(TwoLayers(), 2, BOTH, "fp16")(WIDTHS)
    assert found[2, 0] == pytest.approx(3.5 / 4.5)


@pytest.mark.parametrize("precision", Precision)
def test_every_precision_has_a_size_of_a_number(precision):
    """Of 1 GB/s everything is traffic, but in the first layer, whose arithmetic takes 4 ms in any of them."""
    peaks = dict.fromkeys(("peak_fp32_gflops", "peak_fp16_gflops", "peak_int8_gops"), 500.0)
    found = roofline(TwoLayers(), 2, Hardware(**peaks, bandwidth_gb_s=1.0), precision)(WIDTHS)
    size = {"fp32": 4, "fp16": 2, "int8": 1, "uint8": 1}[precision]
    assert found[2, 0] == pytest.approx((4 + 5 * size) / (4 + 10 * size))


@pytest.mark.parametrize("hardware", [Hardware(), Hardware(peak_fp32_gflops=200.0), Hardware(bandwidth_gb_s=10.0)])
def test_without_both_peaks_arithmetic_and_traffic_are_features(hardware):
    found = roofline(TwoLayers(), 2, hardware)(WIDTHS)
    assert found[0].tolist() == [1.0, 1.0]
    assert found[2] == pytest.approx([1.0005e9 / 1.001e9, 6e6 / 11e6])


def test_a_precision_without_a_known_peak_falls_back_to_features():
    assert roofline(TwoLayers(), 2, BOTH, "int8")(WIDTHS).shape == (3, 2)
