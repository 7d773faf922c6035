"""One step of training: gradients of some batches, clipped, and the optimiser's change of the weights."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from shardforge.loader.randomness import derive_key
from shardforge.train.average import WeightAverage, scale_decay
from shardforge.train.distributed import Ranks
from shardforge.train.optim import create_optimiser
from shardforge.train.precision import choose_precision
from shardforge.train.recipe.settings import FinetuneSettings, Settings, count_step_images, scale_rate
from shardforge.train.task import Task


class Stepper:
    """The model as it is trained, with optimiser, scaler and averaged weights.

    Attributes:
        model: the task's model, wrapped for compilation and many ranks.
        updates: steps of the optimiser so far.
    """

    def __init__(self, task: Task, settings: Settings, ranks: Ranks) -> None:
        self._task = task
        self._settings = settings
        self._parameters = [one for one in task.model.parameters() if one.requires_grad]
        self.rate = scale_rate(settings, ranks.world)
        self.precision = choose_precision(settings, ranks.device)
        self.optimiser = create_optimiser(
            settings, task.model, self.rate, layered=task.layered, compiled=settings.compile_opt
        )
        self.average = _create_average(task, settings, ranks)
        self.updates = 0
        self.model = _wrap(task.model, settings, ranks)
        if settings.compile_opt:
            self.optimiser.step = torch.compile(self.optimiser.step)  # type: ignore[method-assign,assignment]

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated and exported: the averaged one where there is one."""
        return self._task.model if self.average is None else self.average.model

    def add_gradients(self, batch: tuple[Tensor, ...], *, share: float, last: bool) -> Tensor:
        """Add `share` of the gradients of a batch; ranks exchange them with the `last` one. Return the loss."""
        waits = not last and isinstance(self.model, nn.parallel.DistributedDataParallel)
        with self.model.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            with self.precision.autocast():
                loss = self._task.loss(self.model, batch)
            self.precision.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def update(self, *, warming: bool) -> None:
        """Change the weights by the gradients; while the rate is `warming` up the average is the weights themselves."""
        scaler = self.precision.scaler
        if self._settings.clip_grad_norm:
            scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_grad_norm)
        scaler.step(self.optimiser)
        scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.updates += 1
        if self.average is not None and self.updates % _average_steps(self._settings) == 0:
            self.average.update(self._task.model, follow=not warming)

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs."""
        return {
            "model": self._task.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any], *, weights: bool = True) -> None:
        """Go on from what `state_dict` gave; without `weights` keep the model's own."""
        if weights:
            self._task.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.updates = state["updates"]


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed what a step draws (masks, dropout, mixing) from its place in the run: there is no state to keep."""
    torch.manual_seed(derive_seed(seed, epoch, step, rank))


def derive_seed(*parts: int) -> int:
    """Return a seed for torch's generators from these numbers: seeds of different numbers are unrelated."""
    return derive_key(*parts) >> 1


def _wrap(model: nn.Module, settings: Settings, ranks: Ranks) -> nn.Module:
    """Return the model compiled, and inside what exchanges gradients between ranks, which must see each step."""
    inner: nn.Module = torch.compile(model) if settings.compile else model  # type: ignore[assignment]
    if ranks.world == 1:
        return inner
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        inner, device_ids=devices, find_unused_parameters=settings.find_unused_parameters
    )


def _average_steps(settings: Settings) -> int:
    return settings.model_ema_steps if isinstance(settings, FinetuneSettings) else 1


def _create_average(task: Task, settings: Settings, ranks: Ranks) -> WeightAverage | None:
    if not task.averages or not isinstance(settings, FinetuneSettings):
        return None
    images = count_step_images(settings, ranks.world)
    decay = scale_decay(
        settings.model_ema_decay, images_per_step=images, steps=settings.model_ema_steps, epochs=settings.epochs
    )
    return WeightAverage(task.model, decay)
