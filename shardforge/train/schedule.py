"""The learning rate over time, as a function of time alone: nothing has to be saved to go on with it.

All parameter groups follow the same course from their own rates, so the floor of the cosine is scaled with layer decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from shardforge.train.recipe.settings import Schedule


@dataclass(frozen=True)
class Course:
    """Share of the learning rate at each time, counted in epochs or optimiser steps from 0.

    Attributes:
        kind: a scheduler's name.
        total: the times there are.
        warmup: the first of them, in which the rate rises linearly from `warmup_start`.
        floor: the share that the cosine ends at.
    """

    kind: str
    total: int
    warmup: int = 0
    warmup_start: float = 0.01
    floor: float = 0.0
    power: float = 1.0
    step_size: int = 40
    steps: tuple[int, ...] = ()
    gamma: float = 0.75

    def factor(self, time: int) -> float:
        """Return the share at `time`."""
        if time < self.warmup:
            return self.warmup_start + (1 - self.warmup_start) * time / self.warmup
        return _COURSES[self.kind](self, time)

    def _done(self, time: int) -> float:
        """Return how much of the time after the rise is over, 1 at the last time."""
        return min(1.0, (time - self.warmup) / max(1, self.total - self.warmup - 1))


_COURSES: dict[str, Callable[[Course, int], float]] = {
    "constant": lambda course, time: 1.0,
    "cosine": lambda course, time: course.floor + (1 - course.floor) * (1 + math.cos(math.pi * course._done(time))) / 2,
    "polynomial": lambda course, time: (1 - course._done(time)) ** course.power,
    "step": lambda course, time: course.gamma ** ((time - course.warmup) // course.step_size),
    "multistep": lambda course, time: course.gamma ** sum(time >= step for step in course.steps),
}


def find_stage(settings: Schedule, begin: int, epoch: int) -> tuple[int, int]:
    """Return first and last epoch, the latter exclusive, of the stage of an epoch in a run that began at `begin`."""
    bounds = sorted({begin, *(bound for bound in settings.stage_epochs if begin < bound < settings.epochs)})
    start = max(bound for bound in bounds if bound <= epoch)
    return start, min((bound for bound in bounds if bound > epoch), default=settings.epochs)


def create_course(settings: Schedule, lr: float, *, epochs: int, steps_per_epoch: int) -> Course:
    """Return the course of a stage of so many epochs."""
    course = Course(
        settings.lr_scheduler,
        total=epochs,
        warmup=settings.warmup_epochs,
        warmup_start=settings.lr_warmup_decay,
        floor=min(1.0, settings.lr_cosine_min / lr) if lr else 0.0,
        power=settings.lr_power,
        step_size=settings.lr_step_size,
        steps=settings.lr_steps,
        gamma=settings.lr_step_gamma,
    )
    if settings.lr_scheduler_update == "epoch":
        return course
    return replace(course, total=course.total * steps_per_epoch, warmup=course.warmup * steps_per_epoch)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Give each parameter group this share of the rate that it was made with."""
    for group in optimiser.param_groups:
        rate = _initial_rate(group) * factor
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _initial_rate(group: dict[str, Any]) -> float:
    return float(group.setdefault("initial_lr", float(group["lr"])))
