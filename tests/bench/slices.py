"""A long bench in slices: timing has the machine to itself, training need not, and either can stop at any time.

What a bench came to is kept in a store, like a run's stages; a slice that ends early is no loss.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any, Literal

import onnxruntime
import torch

from scbp_host.events import ignore
from scbp_host.stages.ledger import Ledger
from scbp_host.store import Store

Work = Literal["measure", "train"]


class SliceOver(Exception):
    """What is to be done next is not for this slice."""


class Slice:
    """What may still be begun.

    Args:
        only: the one kind of work to do; None does both.
        seconds: begin nothing after so long; None sets no limit.
    """

    def __init__(self, only: Work | None, seconds: float | None) -> None:
        self._only = only
        self._ends = None if seconds is None else time.monotonic() + seconds

    def begin(self, work: Work) -> None:
        """Go on, or raise SliceOver."""
        if self._only not in (None, work):
            raise SliceOver(f"next comes: {work}")
        if self._ends is not None and time.monotonic() > self._ends:
            raise SliceOver(f"time is over; next comes: {work}")

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Let the command line say what this slice is for."""
        parser.add_argument("--only", choices=["measure", "train"], help="do only this kind of work, as far as it goes")
        parser.add_argument("--seconds", type=float, help="begin nothing after so long; run it again to go on")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Slice:
        """Read what :meth:`add_arguments` added."""
        return cls(arguments.only, arguments.seconds)


def open_ledger(store: Store, name: str, sizes: dict[str, Any]) -> Ledger:
    """Return the ledger of one part of a bench; raises SystemExit where it was begun with other sizes."""
    known = {own.id: own for own in store.runs()}
    if name not in known:
        store.create_run(name, sizes)
    elif known[name].config != sizes:
        raise SystemExit(f"{store.path}: {name} was begun with {known[name].config}; give another --work folder")
    return Ledger(store, name, ignore)


def machine(**facts: object) -> dict[str, object]:
    """Return what the figures were taken on."""
    return {
        "machine": platform.machine(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnxruntime": onnxruntime.__version__,
        "training_threads": torch.get_num_threads(),
        **facts,
    }


def add_common_arguments(parser: argparse.ArgumentParser, work: str) -> None:
    """Add what every sliced bench takes."""
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes that still run every step")
    parser.add_argument("--work", type=Path, default=Path(work), help="where to keep what is done; a rerun goes on")
    Slice.add_arguments(parser)
