"""Training one module once, on the CPU or a CUDA device."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from scbp_host.domain.outcome import Failure, FailureKind
from scbp_host.tasks.base import Task
from scbp_host.training.loop import Loop, OnEpoch
from scbp_host.training.objective import Objective, Supervised
from scbp_host.training.placement import device_name, placed, returned, training_device
from scbp_host.training.recipe import Recipe


@dataclass(frozen=True)
class TrainResult:
    """What training gave; the module itself was trained in place.

    Attributes:
        val_top1: top-1 on the validation split after the last epoch, in [0, 1].
        epochs: passes made, those before an interruption included.
        seconds: wall-clock time of this call.
        device: ``cpu``, or the CUDA device's name.
        history: validation top-1 after each epoch.
        parts: in how many parts each batch went through the module; more than 1 where memory ran out.
    """

    val_top1: float
    epochs: int
    seconds: float
    device: str
    history: tuple[float, ...]
    parts: int = 1


def ignore_epoch(_epoch: int, _epochs: int, _val_top1: float) -> None:
    """Do nothing after an epoch."""


def train(
    module: nn.Module,
    task: Task,
    recipe: Recipe,
    random_seed: int,
    teacher: nn.Module | None = None,
    on_epoch: OnEpoch = ignore_epoch,
    *,
    objective: Objective | None = None,
    checkpoint: Path | None = None,
    until: int | None = None,
) -> TrainResult | Failure:
    """Train ``module`` in place; only the training and validation splits are touched.

    Batches, augmentation and dropout depend on ``random_seed`` alone: on one CPU with one number of threads, equal
    calls give equal weights, and so does a call that goes on from a checkpoint. Torch's global generator is seeded for
    the duration and put back.

    Args:
        module: left in eval mode, on the CPU, contiguous.
        task: the data; all of its images are held on the device where they fit.
        recipe: how.
        random_seed: decides everything that is drawn.
        teacher: a trained module to distil from, which answers the same augmented batches; its weights stay as they
            are, and it is left like ``module``. None trains on labels only.
        on_epoch: called after each epoch with (epochs done, epochs, validation top-1).
        objective: what to minimise; None takes the task's loss, with distillation where there is a teacher.
        checkpoint: the state is written here after each epoch, and a call that finds it goes on from there. Whoever
            keeps the result removes it. None keeps no state.
        until: stop after this many of the recipe's epochs, which need a ``checkpoint`` to be gone on from; the learning
            rate follows the whole recipe all the same. None trains to the end.

    Returns:
        the result, or a Failure of kind TRAINING_FAILED when the loss stops being finite, when the smallest part of a
        batch does not fit into memory, or when the module cannot be compiled.
    """
    started = time.monotonic()
    device = training_device()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(random_seed)
            answering = None if teacher is None else placed(teacher, device).eval()
            own = objective or Supervised(task.loss, answering, recipe.distill_temperature, recipe.distill_weight)
            loop = Loop(placed(module, device), own, task, recipe, random_seed, device)
            finite = loop.run(until or recipe.epochs, on_epoch, checkpoint)
    except torch.OutOfMemoryError as error:
        return _failure(f"out of memory on {device}: {error}", "train with smaller images, or on a larger device")
    except _compile_errors(recipe) as error:
        # The first paragraph says what is wrong, the others where to read on.
        reason = " ".join(str(error).split("\n\n")[0].split())
        return _failure(f"torch.compile: {reason}", "train without --compile")
    finally:
        returned(module)
        if teacher is not None:
            returned(teacher)
    if not finite:
        return _failure("the loss is not a finite number any more", "train with a smaller learning_rate")
    seconds, history = time.monotonic() - started, tuple(loop.history)
    return TrainResult(history[-1], len(history), seconds, device_name(device), history, loop.parts)


def _compile_errors(recipe: Recipe) -> tuple[type[Exception], ...]:
    if not recipe.compile:
        return ()
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    return (TorchDynamoException,)


def _failure(message: str, hint: str) -> Failure:
    return Failure(FailureKind.TRAINING_FAILED, message, hint)
