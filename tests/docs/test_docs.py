"""The documentation says what the program does: links, keys, defaults, commands, exit codes and messages."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from scbp_agent import blobs
from scbp_agent.runtimes import advice
from scbp_agent.runtimes.tensorrt import SETTINGS
from scbp_agent.runtimes.tensorrt_build import MIB, WORKSPACES
from scbp_agent.runtimes.tensorrt_model import ENQUEUE_BOUND_SHARE, RUNS_TO_JUDGE
from scbp_host import errors
from scbp_host.cli.main import app
from scbp_host.config import DEFAULT_ACCURACY_DROP, RunConfig
from scbp_host.domain.outcome import FailureKind
from scbp_host.domain.verdict import REMEDIES, VerdictKind
from scbp_host.measuring.stopping import DEFAULT_SECONDS, LEAST_LOADS
from scbp_host.profiles import _ClocksTable, _HardwareTable, _ProfileTable, _SshTable, load_profile
from scbp_host.space.ratio_sets.diagram import EDGE_LIMIT
from scbp_host.space.ratio_sets.expression import parse_ratio_set
from scbp_host.space.ratio_sets.filters import ESTIMATE_DRAWS
from scbp_host.stages.context import TIMING_IMAGES
from scbp_host.stages.space import POOL_LIMIT
from scbp_host.tasks import textures
from scbp_host.tasks.folder import CORRUPT_SHARE, MIN_IMAGES_PER_CLASS
from scbp_host.tasks.splitting import HELD_BACK_SHARE, MAX_BYTES, STATISTICS_IMAGES, TRAIN_SHARE, VALIDATION_SHARE
from scbp_host.training.recipe import CANDIDATE_RECIPE, SEED_RECIPE

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
DATA = ROOT / "docs" / "data.md"
DESIGN = ROOT / "docs" / "design.md"
DEVICES = ROOT / "docs" / "devices.md"
MEASURING = ROOT / "docs" / "measuring.md"
SPACE = ROOT / "docs" / "space.md"
TRAINING = ROOT / "docs" / "training.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: Any = typer.main.get_command(app)

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, its first row left out."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    lines = re.split(r"\n## ", rest)[0].splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith("|")), len(lines))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert len(rows) > 2, f"{page.name}: no table under {heading!r}"
    return rows[2:]


def code(cell: str) -> str:
    match = _CODE.fullmatch(cell)
    assert match is not None, f"expected `code`, got {cell!r}"
    return match[1]


# Links


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_dangling(page: Path, target: str) -> bool:
    file, _, anchor = target.partition("#")
    path = (page.parent / file).resolve() if file else page
    return not path.exists() or (bool(anchor) and anchor not in anchors(path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_resolves(page: Path) -> None:
    targets = [target for target in _LINK.findall(prose(page)) if not target.startswith(("http:", "https:"))]
    assert [target for target in targets if is_dangling(page, target)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, pending = set(), [README]
    while pending:
        page = pending.pop()
        reached.add(page)
        linked = {(page.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(prose(page))}
        pending += [other for other in linked if other in PAGES and other not in reached]
    assert set(PAGES) == reached


def tree() -> list[str]:
    folders = ("host", "device_agent", "tests")
    return [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_is_named_is_there(page: Path) -> None:
    """A page may leave out the folders that its text is about: ``lock.py``, ``measuring/paired.py``."""
    named = {text for text in _CODE.findall(prose(page)) if re.fullmatch(r"[\w/-]+\.py", text)}
    modules = tree()
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in modules)} == set()


def test_the_folders_in_the_design_are_those_of_the_host() -> None:
    (listing,) = (own for own in fences(DESIGN, "text") if own.startswith("host/scbp_host/\n"))
    listed = set(re.findall(r"^  (\w+)(?:/|\.py) ", listing, re.MULTILINE)) | {"errors", "events"}
    real = {path.stem for path in (ROOT / "host" / "scbp_host").iterdir() if path.suffix in ("", ".py")}
    assert listed == real - {"__init__", "__pycache__", "py"}


# Commands


def command_lines(page: Path) -> Iterator[str]:
    """Yield every scbp-host command in code blocks and in code within the text."""
    blocks = [line.partition("#")[0] for block in fences(page, "sh") for line in block.splitlines()]
    for text in [*blocks, *_CODE.findall(prose(page))]:
        if text.strip().startswith("scbp-host "):
            yield text.strip()


def parse(line: str) -> None:
    """Parse a command line as the program would; raises the command line's own usage errors."""
    command, arguments = COMMANDS, shlex.split(line)[1:]
    while hasattr(command, "commands"):
        name = arguments.pop(0)
        assert name in command.commands, f"{line}: there is no verb {name!r}"
        command = command.commands[name]
    # A mere mention may leave arguments out, but every flag in it must exist and have its value.
    mention = not arguments or arguments == ["--help"]
    command.make_context(command.name, [] if mention else arguments, resilient_parsing=mention)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_program_takes(page: Path) -> None:
    for line in command_lines(page):
        parse(line)


def test_the_parser_of_this_test_refuses_what_the_program_refuses() -> None:
    for wrong in ("run --resmue", "run --measure", "run extra", "rank --data x"):
        with pytest.raises(Exception, match=r"(?i)no such option|requires an argument|unexpected"):
            parse(f"scbp-host {wrong}")
    with pytest.raises(AssertionError, match="no verb 'gate'"):
        parse("scbp-host gate model.onnx")


def verbs(command: Any, prefix: str = "") -> set[str]:
    if not hasattr(command, "commands"):
        return {prefix.strip()}
    return set().union(*(verbs(own, f"{prefix} {name}") for name, own in command.commands.items()))


def test_the_readme_lists_every_verb() -> None:
    assert {code(row[0]) for row in table(README, "Use it")} == verbs(COMMANDS)


def test_every_verb_has_json() -> None:
    leaves = [leaf for own in COMMANDS.commands.values() for leaf in getattr(own, "commands", {"": own}).values()]
    assert [leaf.name for leaf in leaves if "--json" not in {opt for own in leaf.params for opt in own.opts}] == []


def flags(*verb: str) -> set[str]:
    command = COMMANDS
    for name in verb:
        command = command.commands[name]
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


def test_every_flag_of_run_measure_and_space_show_is_documented() -> None:
    keys = {code(row[1]) for row in table(CONFIGURATION, "Every key")}
    others = {code(row[0]) for row in table(CONFIGURATION, "Other flags of run")}
    assert keys | others == flags("run")
    assert {code(row[0]) for row in table(CONFIGURATION, "measure")} == flags("measure")
    assert {code(row[0]) for row in table(CONFIGURATION, "space show")} == flags("space", "show") - {"--binning"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {line.split()[1] for block in fences(page, "sh") for line in block.splitlines() if line[:5] == "make "}
    assert named <= targets


# Keys and defaults


def test_every_key_of_scbp_toml_is_documented_with_its_flag_and_its_real_default() -> None:
    rows = {code(key): (code(flag), default) for key, flag, default, _ in table(CONFIGURATION, "Every key")}
    assert set(rows) == set(RunConfig.model_fields)
    real = RunConfig()
    for key, (flag, default) in rows.items():
        assert flag == f"--{key.replace('_', '-')}"
        stated = {} if default == "none" else {key: tomllib.loads(f"x = {code(default)}")["x"]}
        assert (key in stated) == (getattr(real, key) is not None), f"{key}: {default}"
        assert getattr(RunConfig.model_validate(stated), key) == getattr(real, key), f"{key}: {default}"


def documented_keys(heading: str) -> dict[str, str]:
    return {code(key): default for key, default, _ in table(DEVICES, heading)}


@pytest.mark.parametrize(
    ("heading", "model", "extra"),
    [
        ("Keys of a profile", _ProfileTable, {"extends"}),
        ("Keys of [hardware]", _HardwareTable, set()),
        ("Keys of [clocks]", _ClocksTable, set()),
        ("Keys of [ssh]", _SshTable, set()),
    ],
)
def test_every_key_of_a_profile_is_documented(heading: str, model: type[BaseModel], extra: set[str]) -> None:
    stated = documented_keys(heading)
    assert set(stated) == set(model.model_fields) | extra
    for key, entry in model.model_fields.items():
        default = stated[key]
        assert (default == "required") == entry.is_required(), key
        if not entry.is_required():
            value = None if default == "none" else tomllib.loads(f"x = {code(default)}")["x"]
            assert value == entry.default, key


def rows_of_table(page: Path, first_cell: str) -> list[list[str]]:
    """Return the rows of the only table whose heading begins with ``first_cell``."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n| {first_cell} |")
    lines = rest.split("\n\n")[0].splitlines()[2:]
    assert lines, f"{page.name}: no table of {first_cell!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_of_tensorrt_is_documented_with_its_real_default() -> None:
    stated = {code(key): default for key, default, _ in rows_of_table(DEVICES, "setting")}
    real = {name: "none" if own.default is None else f"`{json.dumps(own.default)}`" for name, own in SETTINGS.items()}
    assert stated == real


def toml_blocks() -> list[tuple[str, str]]:
    return [(page.name, block) for page in PAGES for block in fences(page, "toml")]


@pytest.mark.parametrize(("page", "block"), toml_blocks())
def test_every_example_file_is_valid(page: str, block: str, tmp_path: Path) -> None:
    example = tomllib.loads(block)
    if "extends" not in example:
        RunConfig.model_validate(example)
        return
    # An elided key is no key; everything else is taken as it stands.
    (tmp_path / "board.toml").write_text(block.replace("AAAA...", "AAAA"), encoding="utf-8")
    assert load_profile(str(tmp_path / "board.toml")).ssh is not None


def ratio_texts() -> list[str]:
    shown = [example.get("ratios") for _, block in toml_blocks() for example in [tomllib.loads(block)]]
    return [text for text in shown if isinstance(text, str)] + [
        code(row[0]) for row in table(SPACE, "Sets of c-ratios")
    ]


@pytest.mark.parametrize("text", ratio_texts())
def test_every_set_of_ratios_is_one_that_the_program_reads(text: str) -> None:
    figures = {name: lambda ratios: 1e6 * sum(ratios) for name in ("params", "macs")}
    assert parse_ratio_set(text, 4, figures).estimate_size().value > 0


def size_rows() -> list[list[str]]:
    _, _, rest = SPACE.read_text(encoding="utf-8").partition("<!-- space_scale -->")
    lines = [line for line in rest.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_sizes_is_what_was_measured() -> None:
    rows = json.loads((ROOT / "docs" / "bench" / "space_scale.json").read_text(encoding="utf-8"))["rows"]
    stated = [row[0:1] + row[2:] for row in size_rows()]
    times = ("count_s", "sample_s", "iterate_s")
    measured = [[own["set"], *(f"{1e3 * own[name]:.1f} ms" for name in times)] for own in rows]
    assert stated == [[*own, f"{row['peak_bytes'] / 1e6:.1f} MB"] for own, row in zip(measured, rows, strict=True)]


def inheritance_rows() -> tuple[list[list[str]], list[list[str]]]:
    """Return the two tables of docs/training.md as docs/bench/inheritance.json has them."""
    found = json.loads((ROOT / "docs" / "bench" / "inheritance.json").read_text(encoding="utf-8"))["data"]
    epochs, criteria = [], []
    for data, own in found.items():
        networks = [network for run in own["runs"] for network in run["networks"]]
        for name in dict.fromkeys(network["network"] for network in networks):
            same = [network for network in networks if network["network"] == name]
            targets = ", ".join(f"{each['target_val_top1']:.1f}" for each in same)
            fresh = ", ".join(max(each["from_scratch"], key=int) for each in same)
            taken = ", ".join("–" if each["share"] is None else max(each["inherited"], key=int) for each in same)
            epochs.append([data, name, targets, fresh, taken])
        for mean in own["summary"]["criteria"]:
            accuracies = [
                mean[start][key] for start in ("refitted", "not_refitted") for key in ("untrained", "val_top1")
            ]
            criteria.append([data, f"`{mean['criterion']}`", *(f"{accuracy:.1f}" for accuracy in accuracies)])
    return epochs, criteria


def test_the_tables_of_inheritance_are_what_was_measured() -> None:
    epochs, criteria = inheritance_rows()
    assert table(TRAINING, "What inheriting saves") == epochs
    assert table(TRAINING, "What the criterion is worth") == criteria


def test_the_table_of_stopped_intervals_is_what_was_simulated_and_they_keep_their_word() -> None:
    found = json.loads((ROOT / "docs" / "bench" / "stopping.json").read_text(encoding="utf-8"))
    kinds = {kind: own["stopping"] for kind, own in found.items() if isinstance(own, dict) and "stopping" in own}
    simulated = [
        [
            kind,
            f"{own['ci_width']:.0%}",
            f"{own['coverage']:.1%}".replace("%", " %"),
            f"{own['median_width']:.2%}".replace("%", " %"),
            f"{own['width_to_fixed']:.2f}",
            f"{own['median_loads']:g}",
        ]
        for kind, rows in kinds.items()
        for own in rows
    ]
    assert rows_of_table(MEASURING, "noise") == simulated
    assert found["series"] == 2000
    assert all(own["coverage"] >= 0.93 and own["width_to_fixed"] <= 1.5 for rows in kinds.values() for own in rows)


def test_the_examples_in_python_do_what_they_say() -> None:
    (example,) = fences(SPACE, "python")
    exec(compile(example, str(SPACE), "exec"), {})


STATED = [
    (CONFIGURATION, f"the recipe's {SEED_RECIPE.epochs} |"),
    (CONFIGURATION, f"the recipe's {CANDIDATE_RECIPE.epochs} |"),
    (CONFIGURATION, f"{DEFAULT_ACCURACY_DROP} point is allowed"),
    (CONFIGURATION, f"{POOL_LIMIT:,} structures"),
    (
        SPACE,
        f"A space of up to {POOL_LIMIT:,} networks is searched whole. Of a larger one the run draws {POOL_LIMIT:,}",
    ),
    (SPACE, f"more than {EDGE_LIMIT:,} edges"),
    (SPACE, f"one of more than {ESTIMATE_DRAWS:,} unfiltered members"),
    (DATA, f"at least {MIN_IMAGES_PER_CLASS} images in each"),
    (DATA, f"split {TRAIN_SHARE * 100:.0f}/{VALIDATION_SHARE * 100:.0f}/30"),
    (DATA, f"{HELD_BACK_SHARE * 100:.0f} % of each class"),
    (DATA, f"More than {CORRUPT_SHARE * 100:.0f} % of them"),
    (DATA, f"{textures.CLASSES * textures.IMAGES_PER_CLASS:,} colour textures"),
    (DATA, f"pixels in {textures.CLASSES} classes"),
    (DATA, f"{MAX_BYTES // 1024**3} GiB at most"),
    (DATA, f"{STATISTICS_IMAGES:,} training images"),
    (DEVICES, f"at most {blobs.DEFAULT_LIMIT_BYTES // 1024**3} GiB"),
    (DEVICES, f"At least {blobs.DISK_RESERVE_BYTES // 1024**2} MiB"),
    (DEVICES, f"from the {RUNS_TO_JUDGE + 1}th run on as a CUDA graph"),
    (DEVICES, f"more than {ENQUEUE_BOUND_SHARE} of the GPU's time"),
    (DEVICES, "the largest of {}, {}, {} and {} MiB".format(*(size // MIB for size in WORKSPACES))),
    (DEVICES, f"Images: {TIMING_IMAGES} of the validation split"),
    (MEASURING, f"before there are {LEAST_LOADS} loads"),
    (MEASURING, f"or {DEFAULT_SECONDS:.0f} s are spent"),
]


@pytest.mark.parametrize(("page", "words"), STATED)
def test_numbers_in_the_text_are_the_programs(page: Path, words: str) -> None:
    assert words in " ".join(page.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("page", [README, DEVICES], ids=lambda page: page.name)
def test_the_packages_for_jetpack_4_are_those_that_the_agent_names(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 6, 9))
    wanted = [word for word in advice.pip_hint("numpy", "onnxruntime").split() if "==" in word]
    assert len(wanted) == 3
    assert [pin for pin in wanted if pin not in page.read_text(encoding="utf-8")] == []


# Errors


def test_the_exit_codes_are_those_of_the_program() -> None:
    real = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in table(README, "Exit codes")} == real
    named = re.findall(r"^## Exit code (\d+)", prose(TROUBLESHOOTING), re.MULTILINE)
    assert {int(own) for own in named} == real - {errors.EXIT_OK}


def test_every_kind_of_failure_is_explained() -> None:
    assert {code(row[0]) for row in table(TROUBLESHOOTING, "A candidate that failed")} == {*FailureKind}


def test_every_verdict_is_documented_with_its_remedy() -> None:
    stated = {code(kind): remedy for kind, _, remedy in table(MEASURING, "Verdicts")}
    assert stated == {kind: REMEDIES[kind] for kind in VerdictKind if kind is not VerdictKind.UNSORTED}


def template(node: ast.AST) -> str | None:
    """Return a string of the source with … for what is filled in; None for anything but a string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdrg]", "…", re.sub(r"\{\w*\}", "…", node.value))
    if isinstance(node, ast.JoinedStr):
        parts = [own.value if isinstance(own, ast.Constant) else "…" for own in node.values]
        return "".join(str(part) for part in parts)
    return None


def source_strings() -> list[str]:
    found = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for folder in (ROOT / "host", ROOT / "device_agent"):
        for path in folder.rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found += [text for text in map(template, nodes) if text]
    return [re.sub(r"(…\s*)+…", "…", " ".join(text.split())) for text in found]


def documented_messages() -> list[str]:
    headings = re.findall(r"^## (Exit code [234].*|Warnings|make)$", prose(TROUBLESHOOTING), re.MULTILINE)
    cells = [row[0] for heading in headings for row in table(TROUBLESHOOTING, heading)]
    return [message for cell in cells for message in _CODE.findall(cell)]


def test_every_message_in_troubleshooting_is_one_that_the_program_gives() -> None:
    messages = documented_messages()
    assert len(messages) > 40
    known = source_strings()
    invented = [message for message in messages if not any(re.sub(r"(…\s*)+…", "…", message) in text for text in known)]
    assert invented == []
