"""The training loop: epochs, steps, and the state between them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from scbp_host.tasks.base import Task
from scbp_host.training.checkpoint import (
    Checkpoint,
    optimizer_state,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from scbp_host.training.feeding import Batch, feed
from scbp_host.training.inference import batches, evaluate
from scbp_host.training.objective import Objective
from scbp_host.training.placement import amp_dtype
from scbp_host.training.recipe import Recipe

_log = logging.getLogger(__name__)

OnEpoch = Callable[[int, int, float], None]
# BatchNorm's statistics over fewer images than this are none.
MIN_PART = 2


class Loop:
    """The state of one training: modules, data, optimizer and schedule on one device.

    Args:
        module: in channels_last on ``device``; trained in place.
        objective: what to minimise.
        task: the data.
        recipe: how.
        random_seed: decides the batches and their augmentation.
        device: where to train.

    Attributes:
        history: validation top-1 after each epoch done.
        parts: in how many parts a batch goes through the module; more than 1 where memory ran out.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        task: Task,
        recipe: Recipe,
        random_seed: int,
        device: torch.device,
    ) -> None:
        self.history: list[float] = []
        self.parts = 1
        self._module = module.train()
        # Calls the same parameters.
        self._called = cast(nn.Module, torch.compile(module)) if recipe.compile else module
        self._objective, self._task, self._recipe, self._device = objective, task, recipe, device
        self._random_seed = random_seed
        self._feed = feed(task.train, device)
        # On the CPU wherever the module is: the same batches on every device.
        self._generator = torch.Generator().manual_seed(random_seed)
        self._optimizer = torch.optim.AdamW(module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        total_steps = recipe.epochs * len(self._shuffled())
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, recipe.learning_rate, total_steps)
        self._amp_dtype = amp_dtype(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._amp_dtype is torch.float16)

    def run(self, until: int, on_epoch: OnEpoch, checkpoint: Path | None) -> bool:
        """Train until ``until`` epochs are done.

        Args:
            until: of the recipe's epochs; the learning rate follows the whole recipe's cycle all the same.
            on_epoch: called after each epoch, when its checkpoint is written.
            checkpoint: read first where it exists, and written after each epoch; None keeps none.

        Returns:
            False when the loss is no longer finite.
        """
        if checkpoint is not None:
            self._resume(checkpoint)
        while len(self.history) < until:
            if not self._epoch():
                return False
            self.history.append(evaluate(self._module, self._task.validation, self._task.metric))
            if checkpoint is not None:
                write_checkpoint(checkpoint, self._state())
            on_epoch(len(self.history), self._recipe.epochs, self.history[-1])
        return True

    def _epoch(self) -> bool:
        self._module.train()
        total_loss = torch.zeros((), device=self._device)
        for batch in self._feed.batches(self._shuffled()):
            total_loss += self._step(batch)
        # One look for each epoch: one for each step would make a GPU wait for the host.
        return bool(torch.isfinite(total_loss))

    def _step(self, batch: Batch) -> torch.Tensor:
        images = self._task.augment(batch[0], self._generator)
        loss = self._backward(images.contiguous(memory_format=torch.channels_last), batch[1])
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        return loss

    def _backward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Leave the gradient of the batch's mean loss; where memory runs out, of more and smaller parts of it.

        The sum of the parts' gradients is the batch's, save that BatchNorm normalises each part by itself.
        """
        while True:
            self._optimizer.zero_grad()
            try:
                return self._accumulate(images, labels)
            except torch.OutOfMemoryError:
                if len(images) < 2 * MIN_PART * self.parts:
                    raise
            # Outside of the handler: until here, the error's traceback held what did not fit.
            self.parts *= 2
            _log.warning("out of memory: batches of %d go through in %d parts from here on", len(images), self.parts)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _accumulate(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=self._device)
        split = zip(torch.tensor_split(images, self.parts), torch.tensor_split(labels, self.parts), strict=True)
        for own_images, own_labels in split:
            with torch.autocast(self._device.type, self._amp_dtype, enabled=self._amp_dtype is not None):
                loss = self._objective(self._called, own_images, own_labels)
            share = loss * (len(own_labels) / len(labels))
            self._scaler.scale(share).backward()  # type: ignore[no-untyped-call]
            total += share.detach()
        return total

    def _shuffled(self) -> list[torch.Tensor]:
        return batches(torch.randperm(len(self._task.train), generator=self._generator), self._recipe.batch_size)

    def _identity(self) -> dict[str, Any]:
        return {
            "recipe": asdict(self._recipe),
            "random_seed": self._random_seed,
            "split_sha256": self._task.split_sha256,
            "torch": str(torch.__version__),
            "parameters": [list(parameter.shape) for parameter in self._module.parameters()],
        }

    def _state(self) -> Checkpoint:
        optimizer, groups = optimizer_state(self._optimizer)
        tensors = {f"module/{name}": own for name, own in self._module.state_dict().items()}
        tensors |= {f"optimizer/{name}": own for name, own in optimizer.items()}
        tensors |= {"random/batches": self._generator.get_state(), "random/cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self._device)
        facts = {
            "identity": self._identity(),
            "history": self.history,
            "parts": self.parts,
            "optimizer": groups,
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        return Checkpoint(tensors, facts)

    def _resume(self, path: Path) -> None:
        found = read_checkpoint(path, self._identity())
        if found is None:
            return
        state = found.group("module")
        # Not load_state_dict: some modules of torchvision want a version there that safetensors does not keep.
        with torch.no_grad():
            for name, tensor in self._module.state_dict(keep_vars=True).items():
                tensor.copy_(state[name])
        restore_optimizer(self._optimizer, found.group("optimizer"), found.facts["optimizer"])
        self._schedule.load_state_dict(found.facts["schedule"])
        self._scaler.load_state_dict(found.facts["scaler"])
        random = found.group("random")
        self._generator.set_state(random["batches"])
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and self._device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self._device)
        self.history, self.parts = list(found.facts["history"]), int(found.facts["parts"])
