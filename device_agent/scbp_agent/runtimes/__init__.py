"""Inference runtimes, one file each; listing them imports none."""
