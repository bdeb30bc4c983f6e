"""Paired latency with its interval, memory from a worker of its own, outputs: what the device says about one model."""
