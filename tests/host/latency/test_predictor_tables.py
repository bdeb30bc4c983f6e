"""Tables that the predictor's bench takes: a stranger's minimal one, and those that are none."""

import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BENCH = ROOT / "tests" / "bench"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("latency_tables")


def strangers(count=18):
    """Return rows of three superblocks, with nothing but what a table must have."""
    points = list(itertools.product((1.0, 0.6, 0.3), (1.0, 0.5, 0.2), (1.0, 0.5)))[:count]
    return [{"ratios": own, "latency_ratio": 0.1 + 0.5 * own[0] + 0.4 * own[1] * own[2]} for own in points]


def written(folder, content):
    path = folder / "table.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_strangers_table_is_predicted(tmp_path):
    figures = tmp_path / "predictor.json"
    command = [sys.executable, BENCH / "predictor.py", "--quick", "--table", written(tmp_path, strangers())]
    subprocess.run([*command, "--json", figures], check=True, capture_output=True)
    found = json.loads(figures.read_text(encoding="utf-8"))["table"]
    assert found["networks"] == 18
    assert {own["method"] for own in found["results"]} >= {"scbp", "staircase", "additive", "per-layer sum"}
    assert all(0.0 <= own["within_10_percent"] <= 1.0 for own in found["results"])


def test_memory_is_predicted_where_a_table_has_it(tmp_path):
    rows = [{**own, "params": 1e6 * sum(own["ratios"]), "peak_rss_bytes": 60e6} for own in strangers()]
    for own in rows:
        own["peak_rss_bytes"] += 8 * own["params"]
    figures = tmp_path / "predictor.json"
    command = [sys.executable, BENCH / "predictor.py", "--quick", "--table", written(tmp_path, rows), "--json", figures]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads(figures.read_text(encoding="utf-8"))["table"]["memory"]
    assert {own["method"] for own in found} == {"scbp", "params"}
    assert all(own["within_10_percent"] == 1.0 for own in found)
    assert all(("coverage" in own) == (own["method"] == "scbp") for own in found)


def test_measurements_may_be_repeated(tables, tmp_path):
    rows = [{**own, "latency_ratio": [own["latency_ratio"], 4 * own["latency_ratio"]]} for own in strangers()]
    table = tables.Table.read(written(tmp_path, rows))
    assert table.truth == pytest.approx(2 * table.latency)


def test_what_a_network_takes_is_the_median_of_its_passes(tables, tmp_path):
    rows = [{**own, "latency_ratio_again": [x * own["latency_ratio"] for x in (1.2, 1.1)]} for own in strangers()]
    table = tables.Table.read(written(tmp_path, rows))
    assert table.truth == pytest.approx(1.1 * table.latency)
    assert table.again == pytest.approx(1.2 * table.latency)
    assert table.noise["latency_ratio"]["within_10_percent"] == 0.0
    one_less = [rows[0], *({**own, "latency_ratio_again": []} for own in rows[1:])]
    assert tables.Table.read(written(tmp_path, one_less)).again is None


def changed(**figures):
    return [{**strangers()[0], **figures}, *strangers()[1:]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no table", "cannot be read"),
        ({"rows": []}, "expected a JSON list of rows"),
        (["row"], "expected a JSON list of rows"),
        (strangers(5), "at least 12 networks, got 5"),
        ([*strangers(), {"ratios": [1.0, 1.0, 1.0]}], "row 18 has no latency_ratio"),
        (
            [*strangers(), {"ratios": [1.0], "latency_ratio": 1.0}],
            "row 18: expected as many ratios above 0",
        ),
        (changed(latency_ratio=0.0), "row 0: expected a latency_ratio above 0, got 0.0"),
        (changed(latency_ratio="fast"), "row 0: expected a latency_ratio above 0, got fast"),
    ],
)
def test_what_is_no_table_says_so_in_one_line(tables, tmp_path, content, message):
    with pytest.raises(tables.TableError, match=message) as error:
        tables.Table.read(written(tmp_path, content))
    assert "\n" not in str(error.value)
    assert "table.json" in str(error.value)


def test_the_bench_ends_with_that_line(tmp_path):
    command = [sys.executable, BENCH / "predictor.py", "--table", written(tmp_path, []), "--json", tmp_path / "x.json"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == [f"{tmp_path / 'table.json'}: expected at least 12 networks, got 0"]
