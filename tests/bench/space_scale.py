"""How long counting, drawing and walking a set of ratio tuples takes, and its peak memory, from 10^4 to 10^12 members.

python tests/bench/space_scale.py [--quick] --json docs/bench/space_scale.json

Prints the table of docs/space.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scbp_host.space.ratio_sets import (
    AnyRatioSet,
    Filter,
    SetSize,
    non_decreasing,
    non_increasing,
    permutations,
    product,
    uniform,
    where,
)

SAMPLED, ITERATED = 1000, 10_000
Make = Callable[[], AnyRatioSet]


def main() -> None:
    """Measure every kind of set at every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--quick", action="store_true", help="time once instead of five times")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else 5
    rows = [
        {"about": f"10^{exponent}", "set": kind, **measure(make, repeats)}
        for exponent in (4, 8, 12)
        for kind, make in kinds(exponent)
    ]
    result = {"sampled": SAMPLED, "iterated": ITERATED, "repeats": repeats, "rows": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("| set | members | compile and count | draw 1,000 | first 10,000 | peak memory |\n|---|---|---|---|---|---|")
    for row in rows:
        print(line(row))


def kinds(exponent: int) -> Iterator[tuple[str, Make]]:
    """Yield the sets of about 10^exponent members."""
    ten = shares(10)
    everything: Make = lambda: product([ten] * exponent)  # noqa: E731
    # Tuples of k ratios over n superblocks that never grow: C(n + k - 1, n).
    ratios, blocks = {4: (shares(9), 8), 8: (shares(17), 14), 12: (shares(25), 20)}[exponent]
    multiset = {4: (*shares(7), 1.0), 8: (*shares(10), 0.5, 1.0), 12: shares(15)}[exponent]
    monotone: Make = lambda: non_increasing(ratios, blocks) | non_decreasing(ratios, blocks)  # noqa: E731
    yield "product", everything
    yield "monotone", lambda: non_increasing(ratios, blocks)
    yield "permutations", lambda: permutations(multiset)
    yield "union", monotone
    yield "difference", lambda: product([ten] * exponent) - non_increasing(ten, exponent)
    yield (
        "intersection",
        lambda: (
            (product([ten] * exponent) - uniform(ten, exponent))
            & (product([ten] * exponent) - non_increasing(ten, exponent))
        ),
    )
    yield "filter", lambda: where(product([ten] * exponent), Filter("half", lambda own: sum(own) <= 0.55 * exponent))


def shares(count: int) -> tuple[float, ...]:
    """Return 1/count, 2/count, ... 1."""
    return tuple(number / count for number in range(1, count + 1))


def measure(make: Make, repeats: int) -> dict[str, Any]:
    """Return the median times in seconds, and the peak of what Python allocated, in bytes."""
    times = [list(steps(make)) for _ in range(repeats)]
    count_s, sample_s, iterate_s = (statistics.median(own[step][0] for own in times) for step in range(3))
    size: SetSize = times[0][0][1]
    tracemalloc.start()
    list(steps(make))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "size": size.value,
        "size_ci95": None if size.exact else [size.low, size.high],
        "count_s": round(count_s, 6),
        "sample_s": round(sample_s, 6),
        "iterate_s": round(iterate_s, 6),
        "peak_bytes": peak_bytes,
    }


def steps(make: Make) -> Iterator[tuple[float, Any]]:
    """Yield the seconds and the result of: making and counting the set, drawing from it, walking its beginning."""
    started = time.perf_counter()
    own = make()
    size = own.estimate_size()
    yield time.perf_counter() - started, size
    started = time.perf_counter()
    drawn = own.sample(SAMPLED, random_seed=0)
    yield time.perf_counter() - started, len(set(drawn))
    started = time.perf_counter()
    walked = sum(1 for _ in itertools.islice(own, ITERATED))
    yield time.perf_counter() - started, walked


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    size = f"{row['size']:,}"
    if row["size_ci95"] is not None:
        low, high = row["size_ci95"]
        size = f"{row['size']:.3g} ({low:.3g} to {high:.3g})"
    cells = [f"{1e3 * row[name]:.1f} ms" for name in ("count_s", "sample_s", "iterate_s")]
    return f"| {row['set']} | {size} | {' | '.join(cells)} | {row['peak_bytes'] / 1e6:.1f} MB |"


if __name__ == "__main__":
    main()
