"""Tables of measured networks, as `tabular.py` writes them or as somebody else has them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbp_host.latency.base import Features

Array = NDArray[np.float64]

# Fewer networks leave nothing to predict.
LEAST_ROWS = 12
FORM = 'a JSON list of rows like {"ratios": [1.0, 0.5], "latency_ratio": 0.71, "params": 11000, "top1": 0.93}'


class TableError(Exception):
    """A file is no table; the message is one line."""


@dataclass(frozen=True)
class Table:
    """Networks of one space; arrays are of shape ``(n,)`` or ``(n, ...)``.

    Attributes:
        name: of the file.
        widths: ``(n, n_superblocks)`` relative widths.
        latency: the measurement that is learned from.
        truth: the median of all measurements, of their logarithms.
        again: a second measurement; None where there is none.
        floor: latency by the fast runs, which a run learns from; the latency where a table has no ``floor_ratio``.
        peak_mb: peak memory; None where a table does not have ``peak_rss_bytes``.
        shares: ``(n, n_superblocks + 1)`` of a network's time, by superblock and in the head; None without profiles.
        costs: what else is known of each network, by name.
        noise: how far apart two measurements are; see :func:`noise`.
    """

    name: str
    widths: Array
    latency: Array
    truth: Array
    again: Array | None
    floor: Array
    peak_mb: Array | None
    shares: Array | None
    costs: dict[str, Array]
    noise: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a file; raises TableError where it is no such list."""
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TableError(f"{path}: cannot be read: {error}") from error
        _check(path, rows)

        def column(name: str) -> Array | None:
            return np.asarray([row[name] for row in rows], float) if all(name in row for row in rows) else None

        every = [_every(row, "latency_ratio") for row in rows]
        first = np.asarray([own[0] for own in every])
        again = np.asarray([own[1] for own in every]) if all(len(own) > 1 for own in every) else None
        floor, peak_bytes = column("floor_ratio"), column("peak_rss_bytes")
        return cls(
            path.stem,
            np.asarray([row["ratios"] for row in rows], float),
            first,
            np.asarray([np.exp(np.median(np.log(own))) for own in every]),
            again,
            first if floor is None else floor * np.median(first / floor),
            None if peak_bytes is None else peak_bytes / 1e6,
            column("time_shares"),
            {name: values for name in ("macs", "params") if (values := column(name)) is not None},
            noise(rows),
        )

    def work(self, others: Sequence[Table] = ()) -> Features | None:
        """Return what a run's roofline says without peaks: each network's MACs, relative to the largest.

        Args:
            others: tables whose networks may be asked for as well.
        """
        known: dict[tuple[float, ...], float] = {}
        for own in (*others, self):
            if "macs" not in own.costs:
                return None
            relative = (own.costs["macs"] / own.costs["macs"].max()).tolist()
            known.update(zip(map(tuple, own.widths.tolist()), relative, strict=True))
        return lambda widths: np.asarray([[known[tuple(row)]] for row in widths.tolist()])


def noise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how far apart the first two passes are, by medians and by the fast runs: what one measurement is worth."""
    found: dict[str, Any] = {}
    for name in ("latency_ratio", "floor_ratio"):
        twice = [own for row in rows if name in row and len(own := _every(row, name)) > 1]
        if len(twice) > 1:
            logs = [math.log(own[1] / own[0]) for own in twice]
            apart = np.abs(np.expm1(logs))
            within = {f"within_{limit}_percent": float(np.mean(apart <= limit / 100)) for limit in (5, 10)}
            # Each of the two has half of the variance between them.
            deviation = round(100 * float(np.std(logs)) / math.sqrt(2), 2)
            found[name] = {"measured_twice": len(logs), **within, "deviation_percent": deviation}
    return found


def _every(row: Mapping[str, Any], name: str) -> list[float]:
    """Return what all measurements of a network say; ``name`` and its repetition may each be one of them or a list."""
    found: list[float] = np.concatenate([np.ravel(row[own]) for own in (name, f"{name}_again") if own in row]).tolist()
    return found


def _check(path: Path, rows: Any) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TableError(f"{path}: expected {FORM}")
    if len(rows) < LEAST_ROWS:
        raise TableError(f"{path}: expected at least {LEAST_ROWS} networks, got {len(rows)}")
    for number, row in enumerate(rows):
        for name in ("ratios", "latency_ratio"):
            if name not in row:
                raise TableError(f"{path}: row {number} has no {name}; expected {FORM}")
        if not _are_positive(row["ratios"]) or len(row["ratios"]) != len(rows[0]["ratios"]):
            raise TableError(f"{path}: row {number}: expected as many ratios above 0 as in row 0, got {row['ratios']}")
        if not _are_positive(np.ravel(row["latency_ratio"]).tolist()):
            raise TableError(f"{path}: row {number}: expected a latency_ratio above 0, got {row['latency_ratio']}")


def _are_positive(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(own, int | float) and own > 0 for own in values)
