"""Measuring that takes a fraction of a second: for tests of what becomes of figures, not of the figures."""

from scbp_host.measuring.settings import MeasureSettings

QUICK = MeasureSettings(
    loads=4, blocks=4, block_s=0.002, sampling_s=None, warmup_s=0.002, solo_runs=2, most_discarded=0
)
