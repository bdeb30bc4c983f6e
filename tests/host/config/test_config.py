import json

import pytest

from scbp_host.config import RunConfig, config_of_flags, load_config
from scbp_host.domain.resources import ENERGY, MEMORY
from scbp_host.errors import ConfigError, UsageError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def to(text, name="scbp.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return to


WRONG = [
    ("colour = 1", "colour", "expected one of device, model, data"),
    ("measure = 'many'", "measure", "valid integer"),
    ("model = 5", "model", "valid string"),
    ("ratios = 0.5", "ratios", "tuple"),
    ("ratios = []", "ratios", "at least 1"),
    ("ratios = ''", "ratios", "tuple"),
    ("ratios = '  '", "ratios", "tuple"),
    ("ratios = [1.0, 0]", "ratios", "ratio in (0, 1]"),
    ("ratios = [1.5]", "ratios", "ratio in (0, 1]"),
    ("ratios = [nan]", "ratios", "ratio in (0, 1]"),
    ("ratios = [1.0, 0.5, 0.5]", "ratios", "no repeats"),
    ("latency_budget = '15'", "latency_budget", "with its unit (us, ms, s)"),
    ("latency_budget = 15", "latency_budget", "with its unit"),
    ("latency_budget = 15.0", "latency_budget", "with its unit"),
    ("latency_budget = '-1ms'", "latency_budget", "positive"),
    ("latency_budget = '0ms'", "latency_budget", "positive"),
    ("latency_budget = '15MB'", "latency_budget", "(us, ms, s)"),
    ("memory_budget = '300'", "memory_budget", "with its unit (kB, KB, MB, GB)"),
    ("memory_budget = '-3MB'", "memory_budget", "positive"),
    ("energy_budget = '50'", "energy_budget", "with its unit (uJ, mJ, J)"),
    ("energy_budget = '50mW'", "energy_budget", "e.g. '15mJ'"),
    ("max_accuracy_drop = -1", "max_accuracy_drop", "greater than or equal to 0"),
    ("precision = []", "precision", "at least 1"),
    ("precision = ['fp8']", "precision", "expected to be 'fp32', 'fp16', 'int8' or 'uint8', got 'fp8'"),
    ("precision = ['int8', 'int8']", "precision", "no repeats"),
    ("train = 0", "train", "greater than or equal to 1"),
    ("input_shape = [3, 32]", "input_shape", "required"),
    ("binning = 'flops'", "binning", "expected stage, params, macs, latency, or a table of at least two superblocks"),
    ("binning = ['conv1']", "binning", "expected stage, params"),
    ("binning = {a = ['conv1']}", "binning", "at least two superblocks"),
    ("binning = {a = ['conv1'], b = []}", "binning", "a list of module names"),
    ("binning = {a = ['conv1'], b = [1]}", "binning", "a list of module names"),
    ("superblocks = 4", "superblocks", "expected with a binning by params, macs or latency only, got 4"),
    ("binning = 'macs'\nsuperblocks = 1", "superblocks", "greater than or equal to 2"),
    ("superblocks = 4\nbinning = {a = ['conv1'], b = ['*']}", "superblocks", "expected with a binning by params"),
    ("importance = 'l3'", "importance", "expected to be 'l1', 'l2', 'bn-scale', 'taylor' or 'random', got 'l3'"),
    ("init = 'random'", "init", "expected to be 'inherited' or 'from-scratch'"),
    (
        "accuracy = 'refit'\nrefit = false",
        "refit",
        "expected inherited and refitted weights where accuracy is guessed by",
    ),
    ("accuracy = 'refit'\ninit = 'from-scratch'", "init", "expected inherited and refitted weights"),
    ("distill_weight = 1.5", "distill_weight", "less than or equal to 1"),
    ("distill_temperature = 0", "distill_temperature", "greater than 0"),
]


@pytest.mark.parametrize(("text", "key", "expected"), WRONG, ids=[text for text, _, _ in WRONG])
def test_an_error_names_file_key_and_what_was_expected(write, text, key, expected):
    path = write(text, "mine.toml")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.message.startswith(f"{path}: key {key!r}: ")
    assert expected in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["ratios = [", "device local"])
def test_what_is_not_toml_names_the_file(write, text):
    path = write(text)
    with pytest.raises(ConfigError, match="expected TOML") as caught:
        load_config(path, {})
    assert caught.value.message.startswith(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml", {})


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"ratios": (0.0,)}, "--ratios: expected a ratio in (0, 1], got 0.0"),
        ({"latency_budget": "15"}, "--latency-budget: expected a positive number with its unit"),
        ({"max_accuracy_drop": 101.0}, "--max-accuracy-drop: expected to be less than or equal to 100"),
    ],
)
def test_a_wrong_flag_is_named_as_a_flag_even_where_there_is_a_file(write, flags, named):
    path = write("latency_budget = '2ms'\nratios = [1.0]\nmax_accuracy_drop = 2.0")
    with pytest.raises(UsageError) as caught:
        load_config(path, flags)
    assert not isinstance(caught.value, ConfigError)
    assert caught.value.message.startswith(named)


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(write):
    path = write("measure = 5\ntrain = 3\nratios = [1.0, 0.5]\n")
    config = load_config(path, {"train": 2, "rounds": None})
    assert (config.measure, config.train, config.rounds) == (5, 2, RunConfig().rounds)
    assert config.ratios == (1.0, 0.5)


def test_the_file_beside_the_user_is_found_unless_another_is_named(write):
    write("measure = 5")
    other = write("measure = 7", "other.toml")
    assert load_config(None, {}).measure == 5
    assert load_config(other, {}).measure == 7
    assert config_of_flags({}).measure == RunConfig().measure


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("15ms", 15.0), ("500us", 0.5), ("0.02 s", 20.0), ("1e-2s", 10.0), (".5ms", 0.5)]
)
def test_a_latency_is_read_in_its_unit(text, milliseconds):
    assert config_of_flags({"latency_budget": text}).latency_budget == pytest.approx(milliseconds)


@pytest.mark.parametrize(("text", "megabytes"), [("300MB", 300.0), ("2GB", 2000.0), ("500kB", 0.5)])
def test_a_memory_is_read_in_its_unit(text, megabytes):
    assert config_of_flags({"memory_budget": text}).memory_budget == pytest.approx(megabytes)


@pytest.mark.parametrize(("text", "millijoules"), [("50mJ", 50.0), ("0.2J", 200.0), ("500uJ", 0.5)])
def test_an_energy_is_read_in_its_unit(text, millijoules):
    assert config_of_flags({"energy_budget": text}).energy_budget == pytest.approx(millijoules)


def test_budgets_of_resources_are_those_that_were_set():
    assert config_of_flags({}).resource_budgets == {}
    both = config_of_flags({"memory_budget": "300MB", "energy_budget": "50mJ"})
    assert both.resource_budgets == {MEMORY: 300.0, ENERGY: 50.0}


@pytest.mark.parametrize(
    ("flags", "points"),
    [
        ({}, 1.0),
        ({"latency_budget": "5ms"}, None),
        ({"memory_budget": "5MB"}, None),
        ({"energy_budget": "5mJ"}, None),
        ({"latency_budget": "5ms", "max_accuracy_drop": 0.5}, 0.5),
        ({"max_accuracy_drop": 0.0}, 0.0),
    ],
)
def test_a_run_without_any_budget_may_lose_one_point(flags, points):
    assert config_of_flags(flags).accuracy_drop_points == points


def test_ratios_may_be_a_set_as_text_whose_line_breaks_do_not_matter(write):
    path = write('ratios = """\nuniform(1)\n  | uniform(0.5)\n"""')
    assert load_config(path, {}).ratios == "uniform(1) | uniform(0.5)"
    assert load_config(path, {}).identity() == config_of_flags({"ratios": "uniform(1) | uniform(0.5)"}).identity()
    stored = json.loads(json.dumps(config_of_flags({"ratios": "uniform(1)"}).identity()))
    assert RunConfig.model_validate(stored).ratios == "uniform(1)"


def test_the_identity_leaves_the_output_folder_out_and_is_read_again(tmp_path):
    flags = {"latency_budget": "0.3ms", "memory_budget": "123.4MB", "energy_budget": "1.7uJ", "ratios": (1.0, 0.3)}
    flags["weights"] = tmp_path / "w"
    config = config_of_flags({**flags, "out": tmp_path / "a"})
    elsewhere = config_of_flags({**flags, "out": tmp_path / "b"})
    assert config.identity() == elsewhere.identity()
    assert config.identity() != config_of_flags({**flags, "random_seed": 1}).identity()
    stored = json.loads(json.dumps(config.identity()))
    assert RunConfig.model_validate(stored).model_copy(update={"out": config.out}) == config


@pytest.mark.parametrize("binning", ["stage", "latency", {"early": ["conv1"], "late": ["layer*", "*"]}])
def test_a_binning_is_read_back_from_the_store_as_it_was(binning):
    config = RunConfig(binning=binning)
    stored = json.loads(json.dumps(config.identity(), sort_keys=True))
    assert RunConfig.model_validate(stored).binning == config.binning
    assert config.agrees_with(stored)


def test_a_run_from_before_a_key_existed_has_its_default():
    stored = RunConfig(measure=7).identity()
    del stored["binning"], stored["superblocks"]
    assert RunConfig(measure=7).agrees_with(stored)
    assert not RunConfig(measure=8).agrees_with(stored)
    assert not RunConfig(measure=7, binning="macs").agrees_with(stored)
    assert not RunConfig(measure=7).agrees_with({**stored, "a-key-of-another-release": 1})


@pytest.mark.parametrize(
    ("given", "guess"),
    [
        ({}, "importance"),
        ({"latency_budget": "15ms"}, "refit"),
        ({"latency_budget": "15ms", "refit": False}, "importance"),
        ({"latency_budget": "15ms", "init": "from-scratch"}, "importance"),
        ({"latency_budget": "15ms", "accuracy": "importance"}, "importance"),
        ({"accuracy": "supernet"}, "supernet"),
    ],
)
def test_under_a_latency_budget_accuracy_is_guessed_by_refit_where_weights_are_refitted(given, guess):
    assert RunConfig(**given).accuracy_guess == guess


def test_a_width_is_a_percentage_with_its_sign():
    assert RunConfig(ci_width="1%").ci_width == 1.0
    assert RunConfig(ci_width=" 0.5 % ").ci_width == 0.5
    config = RunConfig(ci_width="2%", max_seconds=20)
    assert RunConfig.model_validate(config.identity()) == config
    for wrong in ("1", "0%", "1ms", "200%", 1):
        with pytest.raises(UsageError, match="--ci-width"):
            load_config(None, {"ci_width": wrong})
    with pytest.raises(UsageError, match="--max-seconds"):
        load_config(None, {"max_seconds": 0})
