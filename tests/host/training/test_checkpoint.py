"""A training that is interrupted goes on from its last epoch, and comes to the same weights bit for bit."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from scbp_host.tasks.base import Task
from scbp_host.tasks.datasets import load_task
from scbp_host.training import checkpoint as checkpoints
from scbp_host.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from scbp_host.training.recipe import Recipe
from scbp_host.training.trainer import TrainResult, train

RECIPE = Recipe(epochs=4, learning_rate=1e-2)
# Too many to be done before the signal arrives.
LONG = replace(RECIPE, epochs=12)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("digits", (1, 8, 8))


def net() -> nn.Module:
    """Everything that has a state: BatchNorm, dropout's random numbers, and weights that channels_last moves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )


@pytest.fixture(scope="module")
def uninterrupted(task: Task) -> tuple[nn.Module, TrainResult]:
    module = net()
    result = train(module, task, RECIPE, 3)
    assert isinstance(result, TrainResult)
    return module, result


class Interrupted(Exception):
    """Somebody pulled the plug."""


def interrupt_after(task: Task, path: Path, epochs: int, random_seed: int = 3) -> None:
    def on_epoch(epoch: int, _epochs: int, _top1: float) -> None:
        if epoch == epochs:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(net(), task, RECIPE, random_seed, on_epoch=on_epoch, checkpoint=path)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("after", [1, 3])
def test_goes_on_from_the_last_epoch_to_the_same_weights(
    task: Task, tmp_path: Path, uninterrupted: tuple[nn.Module, TrainResult], after: int
) -> None:
    path = tmp_path / "training.safetensors"
    interrupt_after(task, path, after)
    module, epochs = net(), []
    result = train(module, task, RECIPE, 3, on_epoch=lambda *own: epochs.append(own), checkpoint=path)
    assert isinstance(result, TrainResult)
    assert [own[0] for own in epochs] == list(range(after + 1, RECIPE.epochs + 1)), "no epoch twice"
    assert result.history == uninterrupted[1].history
    assert same_weights(module, uninterrupted[0])


def test_stopping_at_a_rung_and_going_on_is_the_same_training(
    task: Task, tmp_path: Path, uninterrupted: tuple[nn.Module, TrainResult]
) -> None:
    path = tmp_path / "training.safetensors"
    module = net()
    for until in (1, 2, 4):
        result = train(module, task, RECIPE, 3, checkpoint=path, until=until)
        assert isinstance(result, TrainResult)
        assert result.epochs == until
        assert result.history == uninterrupted[1].history[:until]
    assert same_weights(module, uninterrupted[0])


def test_a_rung_that_was_reached_is_not_trained_again(task: Task, tmp_path: Path) -> None:
    path, epochs = tmp_path / "training.safetensors", []
    first = train(net(), task, RECIPE, 3, checkpoint=path, until=2)
    again = train(net(), task, RECIPE, 3, on_epoch=lambda *own: epochs.append(own), checkpoint=path, until=2)
    assert isinstance(first, TrainResult)
    assert isinstance(again, TrainResult)
    assert again.history == first.history
    assert epochs == []


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_checkpoint as own

def on_epoch(epoch, epochs, top1):
    print(epoch, flush=True)

own.train(own.net(), own.load_task("digits", (1, 8, 8)), own.LONG, 3, on_epoch=on_epoch, checkpoint=Path(sys.argv[2]))
"""


def test_killed_in_the_middle_of_an_epoch(task: Task, tmp_path: Path) -> None:
    path, module, whole = tmp_path / "training.safetensors", net(), net()
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    train(whole, task, LONG, 3)
    epochs: list[int] = []
    train(module, task, LONG, 3, on_epoch=lambda epoch, *_: epochs.append(epoch), checkpoint=path)
    assert epochs[0] > 1
    assert same_weights(module, whole)


def test_a_checkpoint_of_another_training_is_left_aside_with_a_word(
    task: Task, tmp_path: Path, uninterrupted: tuple[nn.Module, TrainResult], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "training.safetensors"
    interrupt_after(task, path, 1, random_seed=4)
    module = net()
    with caplog.at_level(logging.WARNING):
        train(module, task, RECIPE, 3, checkpoint=path)
    assert "another training" in caplog.text
    assert same_weights(module, uninterrupted[0])


@pytest.mark.parametrize("damage", [b"", b"not safetensors", "cut"])
def test_a_damaged_checkpoint_is_left_aside_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | str
) -> None:
    path = tmp_path / "training.safetensors"
    write_checkpoint(path, Checkpoint({"module/x": torch.ones(100)}, {"identity": {}}))
    path.write_bytes(path.read_bytes()[:-50] if isinstance(damage, str) else damage)
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(path, {}) is None
    assert str(path) in caplog.text


def test_a_file_without_facts_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.ones(1)}, path)
    assert read_checkpoint(path, {}) is None


def test_a_checkpoint_holds_no_pickle_and_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "training.safetensors"
    write_checkpoint(path, Checkpoint({"module/x": torch.zeros(2)}, {"identity": {"a": 1}, "rate": 0.1 + 0.2}))
    found = read_checkpoint(path, {"a": 1})
    assert found is not None
    assert found.facts["rate"] == 0.1 + 0.2, "JSON keeps every bit of a float"
    assert list(load_file(path)) == ["module/x"]

    def killed(_descriptor: int) -> None:
        raise Interrupted

    monkeypatch.setattr(checkpoints.os, "fsync", killed)
    with pytest.raises(Interrupted):
        write_checkpoint(path, Checkpoint({"module/x": torch.ones(2)}, {"identity": {"a": 1}}))
    again = read_checkpoint(path, {"a": 1})
    assert again is not None
    assert again.group("module")["x"].tolist() == [0.0, 0.0]
