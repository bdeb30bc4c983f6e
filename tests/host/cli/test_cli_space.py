"""scbp-host space show, from the command line to its table and its JSON."""

import json

import pytest

from scbp_host.cli.main import run_command

TINY = ("--model", "resnet18", "--input-shape", "3x32x32")


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments):
        code = run_command(["space", "show", *arguments])
        return code, *capsys.readouterr()

    return run


COST = {"params", "macs", "latency_ms"}


def test_the_json_has_every_layer_and_every_cost(show):
    code, out, err = show(*TINY, "--superblocks", "6", "--by", "macs", "--json")
    assert (code, err) == (0, "")
    space = json.loads(out)
    assert set(space) == {
        "seed",
        "binning",
        "device",
        "superblocks",
        "head",
        "total",
        "moved",
        "unattributed_share",
        "ratios",
        "structures",
        "structures_ci95",
    }
    assert (space["binning"], space["device"], space["unattributed_share"]) == ("macs", None, None)
    assert [block["name"] for block in space["superblocks"]] == [f"macs-{number}" for number in range(1, 7)]
    for block in space["superblocks"]:
        assert set(block) == {"name", "resolution", "channels", "cost", "groups"}
        assert all(set(group) == {"name", "channels", "layers", "cost"} for group in block["groups"])
        assert all(set(own["cost"]) == COST for own in (block, *block["groups"]))
        assert block["channels"] == sum(group["channels"] for group in block["groups"])
        assert block["cost"]["macs"] == sum(group["cost"]["macs"] for group in block["groups"])
        assert block["cost"]["latency_ms"] is None
    for unit in ("params", "macs"):
        assert sum(block["cost"][unit] for block in space["superblocks"]) + space["head"][unit] == space["total"][unit]
    assert space["total"]["params"] == 11_181_642
    assert space["head"]["macs"] == 512 * 10
    assert space["moved"]
    assert space["structures"] == 4**6


def test_latency_is_measured_where_it_is_asked_for(show):
    code, out, err = show(*TINY, "--superblocks", "3", "--by", "latency", "--device", "local", "--json")
    assert (code, err) == (0, "")
    space = json.loads(out)
    assert (space["binning"], space["device"]) == ("latency", "local")
    times_ms = [block["cost"]["latency_ms"] for block in space["superblocks"]]
    assert len(times_ms) == 3
    assert all(time_ms > 0 for time_ms in times_ms)
    assert sum(times_ms) + space["head"]["latency_ms"] == pytest.approx(space["total"]["latency_ms"])
    assert 0 <= space["unattributed_share"] < 1


def test_latency_can_be_shown_for_another_binning(show):
    _, out, _ = show(*TINY, "--latency", "--json")
    space = json.loads(out)
    assert (space["binning"], space["device"]) == ("stage", "local")
    assert all(block["cost"]["latency_ms"] > 0 for block in space["superblocks"])


def test_the_table_names_superblocks_layers_shares_and_what_moved(show):
    code, out, _ = show(*TINY, "--superblocks", "2", "--by", "params", "--ratios", "1,0.5")
    assert code == 0
    for text in ("params-1", "params-2", "layer4.1.conv1", "head", "100.0%"):
        assert text in out
    assert "moved: cut 1 for equal shares of params would be before" in out
    assert "space: 4 networks of 1, 0.5 over 2 superblocks" in out
    assert " ms " not in out


def test_ratios_may_be_a_set_as_text(show):
    _, out, _ = show(*TINY, "--ratios", "non_increasing(1, 0.75, 0.5)", "--json")
    space = json.loads(out)
    blocks = len(space["superblocks"])
    assert (space["structures"], space["structures_ci95"]) == ((blocks + 1) * (blocks + 2) // 2, None)
    code, out, _ = show(*TINY, "--ratios", "where(product(1,.9,.8,.7,.6,.5,.4,.3,.2),max_params=5e6)")
    assert code == 0
    assert "space: about " in out
    assert " networks of where(" in out


def test_names_come_from_the_file(show, tmp_path):
    (tmp_path / "scbp.toml").write_text('[binning]\nearly = ["conv1", "layer1"]\nlate = ["*"]\n')
    _, out, _ = show("--json")
    space = json.loads(out)
    assert space["binning"] == "names"
    assert [block["name"] for block in space["superblocks"]] == ["early", "late"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "macs", "--superblocks", "13"), "superblocks: expected from 1 to 12, the number of channel groups"),
        (("--by", "flops"), "--binning: expected stage, params, macs, latency, or a table"),
        (("--superblocks", "3"), "--superblocks: expected with a binning by params, macs or latency only"),
        (("--by", "macs", "--superblocks", "1"), "--superblocks: expected to be greater than or equal to 2"),
        (("--model", "resnet81"), "did you mean 'resnet18'?"),
        (("--ratios", "uniform(1, 2)"), "ratios: expected a ratio in (0, 1], got '2'"),
        (("--ratios", "permutations(1, 0.5)"), "ratios: expected 4 ratios, one for each superblock"),
        (("--ratios", "where(product(1, 0.5), max_latency_ms=5)"), "needs what an earlier run has measured"),
        (("--input-shape", "32"), "--input-shape: expected CxHxW"),
        (("--device", "nowhere"), "no device 'nowhere'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(show, arguments, says):
    code, out, err = show(*arguments)
    assert (code, out) == (2, "")
    (line,) = [own for own in err.splitlines() if own.startswith("error: ")]
    assert says in line
    assert "Traceback" not in err
