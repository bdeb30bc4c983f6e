import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from scbp_host.domain.candidate import ChannelGroup, Superblock
from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.errors import EXIT_USAGE, StoreError
from scbp_host.report import SCHEMA_VERSION, Summary, read_summary, write_summary
from scbp_host.report.candidate import CandidateRecord, FailureRecord
from scbp_host.report.summary import SuperblockRecord

DOCUMENT = Path(__file__).parents[3] / "docs" / "summary.md"


def records(data):
    return [data["seed"], data["best"], *data["candidates"]]


# Where each section's object lies in a serialised summary.
PLACES = {
    "Summary": lambda data: [data],
    "Candidate": records,
    "Energy": lambda data: [record["energy"] for record in records(data) if record["energy"]],
    "Phase": lambda data: [phase for record in records(data) for phase in record["phases"]],
    "Chances": lambda data: [record["chances"] for record in records(data) if record["chances"]],
    "Failure": lambda data: [record["failure"] for record in data["candidates"] if record["failure"]],
    "Device": lambda data: [data["device"]],
    "Clocks": lambda data: [data["device"]["clocks"]],
    "Model": lambda data: [data["model"]],
    "Data": lambda data: [data["data"]],
    "Binning": lambda data: [data["binning"]],
    "Reference": lambda data: [data["reference"]],
    "Superblock": lambda data: data["superblocks"],
    "Group": lambda data: [group for block in data["superblocks"] for group in block["groups"]],
    "Budgets": lambda data: [data["budgets"]],
    "LatencyModel": lambda data: [data["latency_model"]],
    "Round": lambda data: data["rounds"],
    "Stop": lambda data: [data["stopped"]],
    "Order": lambda data: [data["order"]],
    "StructureBytes": lambda data: [data["structure_bytes"]],
}


def documented():
    """Keys by section of the document, in its order."""
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {part.splitlines()[0]: re.findall(r"^\| `(\w+)` \|", part, flags=re.MULTILINE) for part in sections}


@pytest.mark.parametrize("section", PLACES)
def test_the_document_lists_exactly_the_keys_of_a_summary_in_their_order(section, summary):
    objects = PLACES[section](json.loads(summary.to_json()))
    assert objects
    for found in objects:
        assert list(found) == documented()[section]


def objects_in(value):
    """Every object in a JSON value, but not those whose keys are free."""
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name not in ("facts", "gpu_ms", "runtime_settings", "stage_seconds"):
                yield from objects_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects_in(inner)


def test_no_object_of_a_summary_is_without_its_section(summary):
    data = json.loads(summary.to_json())
    known = [found for place in PLACES.values() for found in place(data)]
    assert all(found in known for found in objects_in(data))
    assert set(documented()) == set(PLACES)


def test_a_summary_comes_back_from_its_file(summary, tmp_path):
    path = tmp_path / "run" / "summary.json"
    write_summary(summary, path)
    assert read_summary(path) == summary
    assert [file.name for file in path.parent.iterdir()] == ["summary.json"], "no temporary file is left"


def test_what_the_issue_asks_of_a_summary_is_there(summary):
    data = json.loads(summary.to_json())
    assert data["schema_version"] == SCHEMA_VERSION
    assert data["best"]["latency_ratio_ci95"] == list(summary.best.latency_ratio_ci95)
    untrained = next(record for record in data["candidates"] if record["status"] == "measured")
    assert untrained["val_top1"] is None
    assert untrained["test_top1"] is None


def test_a_file_that_cannot_be_replaced_keeps_its_content(summary, tmp_path):
    path = tmp_path / "summary.json"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(StoreError, match=r"summary\.json: cannot write") as caught:
        write_summary(summary, path)
    assert "\n" not in caught.value.message
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def corrupted(change):
    def edit(text):
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return edit


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda text: text[:200], "expected a summary"),
        (lambda text: "[1, 2]", "expected a summary"),
        (lambda text: "{}", "expected a summary"),
        (corrupted(lambda data: data.update(schema_version=2)), r"schema_version 2; this scbp reads 1"),
        (corrupted(lambda data: data["seed"].update(params="many")), r"seed\.params: "),
        (corrupted(lambda data: data["candidates"][3].pop("id")), r"candidates\.3\.id: Field required"),
        (corrupted(lambda data: data["device"].update(colour="red")), r"device\.colour: Extra inputs"),
    ],
)
def test_a_broken_summary_is_one_line_that_names_file_and_key(summary, tmp_path, edit, complaint):
    path = tmp_path / "summary.json"
    path.write_text(edit(summary.to_json()))
    with pytest.raises(StoreError, match=complaint) as caught:
        read_summary(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == EXIT_USAGE


def test_a_summary_that_is_not_there_names_the_file(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere\.json: cannot read"):
        read_summary(tmp_path / "nowhere.json")


def test_records_are_frozen(summary):
    with pytest.raises(ValidationError, match="frozen"):
        summary.best.params = 1


def test_nan_is_never_a_figure():
    with pytest.raises(ValidationError, match="finite"):
        CandidateRecord(id="c", ratios=(1.0,), status="measured", latency_ratio=float("nan"))


def test_domain_objects_become_records():
    failure = Failure(FailureKind.OUT_OF_MEMORY, "killed at 1.9 GB", "close other programs", transient=True)
    assert FailureRecord.of(failure).model_dump() == {
        "kind": "OUT_OF_MEMORY",
        "message": "killed at 1.9 GB",
        "hint": "close other programs",
    }
    block = Superblock("s", (8, 4), (ChannelGroup("a", 64, ("a", "b")), ChannelGroup("c", 32, ("c",))))
    record = SuperblockRecord.of(block, (1.0, 0.5))
    assert record.channels == 96
    assert record.groups[0].layers == ("a", "b")
    assert record.ratios == (1.0, 0.5)


def test_a_summary_is_the_same_bytes_every_time(summary):
    assert Summary.from_json(summary.to_json()).to_json() == summary.to_json()
