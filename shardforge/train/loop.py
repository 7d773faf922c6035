"""The loop of training, once for pre-training and fine-tuning: epochs, steps, evaluation, checkpoints and the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from shardforge.errors import UsageError
from shardforge.train.checkpoint import (
    find_checkpoint,
    find_whole,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    set_aside,
    set_damaged_aside,
)
from shardforge.train.distributed import Ranks
from shardforge.train.log import RunLog
from shardforge.train.meter import Meter
from shardforge.train.recipe.options import dump_settings
from shardforge.train.recipe.settings import Settings
from shardforge.train.recipe.smoke import SMOKE_STEPS
from shardforge.train.schedule import create_course, find_stage, set_rates
from shardforge.train.step import Stepper, seed_step
from shardforge.train.task import Task
from shardforge.train.weights import write_weights


class Trainer:
    """Trains a task in a folder of its own.

    Attributes:
        epoch: finished epochs.
        step: batches of the next epoch that are done.
    """

    def __init__(self, task: Task, settings: Settings, ranks: Ranks, folder: Path, log: RunLog) -> None:
        self.task, self.settings, self.ranks, self.folder, self.log = task, settings, ranks, folder, log
        self.stepper = Stepper(task, settings, ranks)
        self.meter = Meter(task.loader.dataset)
        self.epoch = settings.resume_epoch or 0
        self.step = 0
        self._best: tuple[int, float] | None = None
        self._begin = self._load()
        self._updates_per_epoch = -(-len(task.loader) // settings.grad_accum_steps)
        self._begin_stage()

    def run(self) -> None:
        """Train to the last epoch.

        Raises:
            TaskError: a loss is not a number.
        """
        last = min(self.settings.epochs, self.settings.stop_epoch or self.settings.epochs)
        if self.epoch >= last:
            self.log.say(f"nothing is left to train: {self.epoch} epochs are done; more take a larger --epochs")
        while self.epoch < last:
            done = self._train_epoch()
            self._finish_epoch(ends=self.epoch == last or not done)
            if not done:
                return

    def _train_epoch(self) -> bool:
        """Go through an epoch, or what is left of it; return whether more may follow."""
        loader, accumulated = self.task.loader, self.settings.grad_accum_steps
        loader.set_epoch(self.epoch)
        self._begin_stage()
        self.task.model.train()
        seed_step(self.settings.seed, self.epoch, self.step, rank=0)  # what is drawn here all ranks must draw alike
        self.task.begin_epoch(self.epoch, self.step)
        steps = len(loader)
        for batch in self.meter.timed(loader):
            first = self.step - self.step % accumulated
            together = min(accumulated, steps - first)
            last = self.step + 1 == first + together
            self._set_rates()
            seed_step(self.settings.seed, self.epoch, self.step, self.ranks.rank)
            loss = self.stepper.add_gradients(batch, share=1 / together, last=last)
            self.meter.add(loss, batch[-1], len(batch[-1]) * self.ranks.world)
            self.step += 1
            if last:
                self.stepper.update(warming=self._warming())
                self._after_update(steps)
                if self.settings.smoke and self.stepper.updates >= SMOKE_STEPS:
                    return self._end_epoch(more=False)
        return self._end_epoch(more=True)

    def _end_epoch(self, *, more: bool) -> bool:
        self.epoch, self.step = self.epoch + 1, 0
        return more

    def _after_update(self, steps: int) -> None:
        """Log, and save in the middle of an epoch, where it is time."""
        updates = self.stepper.updates
        if updates % self.settings.log_steps == 0 or self.step == steps:
            seen = self.meter.look()
            seen["lr"] = self._highest_rate()
            self.log.record("step", updates, {"epoch": self.epoch + 1, "step": self.step, **seen})
            self.log.progress(
                f"epoch {self.epoch + 1}/{self.settings.epochs}  step {self.step}/{steps}  loss {seen['loss']:.4f}  "
                f"lr {seen['lr']:.3g}  {seen['images_per_second']:,.0f} images/s  data wait {seen['data_wait']:.1%}"
            )
        if self.settings.save_steps and updates % self.settings.save_steps == 0 and self.step < steps:
            self._save()

    def _finish_epoch(self, *, ends: bool) -> None:
        """Evaluate, log, and save where it is time."""
        mean = self.ranks.add_up(torch.tensor(self.meter.mean(), dtype=torch.float64)) / self.ranks.world
        figures = {"mean_loss": float(mean)}
        self.meter = Meter(self.task.loader.dataset)
        self.ranks.share_statistics(self.stepper.evaluated)
        figures |= self.task.evaluate(self.stepper.evaluated, self.epoch)
        self.log.record("epoch", self.stepper.updates, {"epoch": self.epoch, **figures})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.log.say(f"epoch {self.epoch}/{self.settings.epochs} done: {shown}")
        better = self._note_best(figures)
        due = ends or self.epoch % self.settings.save_frequency == 0
        if due or better:
            self._save(export=due, better=better)
        if self.ranks.first:
            self.task.picture(self.stepper.evaluated, self.folder, self.epoch)
            self.log.draw()
        self.ranks.wait()

    def _note_best(self, figures: dict[str, float]) -> bool:
        name, more = self.task.follows
        value = figures[name] if more else -figures[name]
        if self._best is None or value > self._best[1]:
            self._best = (self.epoch, value)
            return True
        return False

    def _save(self, *, export: bool = False, better: bool = False) -> None:
        meter = self.meter.state_dict()
        if not self.ranks.first:
            return
        about = {**self.task.about(), "epoch": self.epoch}
        content = {
            "about": about,
            "settings": dump_settings(self.settings),
            "loader": self.task.loader.state_dict() if self.step else None,
            "meter": meter,
            "begin": self._begin,
            "best": self._best,
            **self.stepper.state_dict(),
        }
        # The checkpoint comes last: whoever resumes from it must find all that belongs to its epoch.
        names = [f"{self.settings.export_name}_{self.epoch}"] * export + ["best"] * better
        if names:
            state = self.task.export(self.stepper.evaluated)
            for name in names:
                write_weights(self.folder / f"{name}.safetensors", state, about)
        save_checkpoint(self.folder, self.epoch, self.step, content)
        best = self._best[0] if self._best else None
        prune_checkpoints(self.folder, self.settings.save_frequency, self.settings.keep_last, best)

    def _load(self) -> int:
        """Go on where the options say; return the epoch that the schedule counts from."""
        settings = self.settings
        if settings.resume and list_checkpoints(self.folder):
            path = self._find_whole()
            content = load_checkpoint(path, checked=True)
            self._restore(content)
            self.log.say(f"resumed from {path}: {self.epoch} epochs and {self.step} batches are done")
            return int(content["begin"])
        if settings.resume:
            self.log.say(f"nothing to resume in {self.folder}: starting")
        elif not settings.smoke:
            self._leave_other_run()
        if settings.load_states and settings.resume_epoch:
            content = load_checkpoint(find_checkpoint(self.folder, settings.resume_epoch))
            self._load_states(content, weights=False)
            self._best = content["best"]
            return int(content["begin"])
        return 0 if settings.load_scheduler else self.epoch

    def _find_whole(self) -> Path:
        """Return the latest whole checkpoint, the same for all ranks, and say which were left."""
        found = find_whole(self.folder) if self.ranks.first else None
        path, left = next(one for one in self.ranks.gather(found) if one is not None)
        if self.ranks.first:
            for why, place in zip(reversed(left), set_damaged_aside(self.folder, path), strict=True):
                self.log.say(f"left {place.with_suffix('')}: {why}; it is {place.name} now")
        return Path(path)

    def _leave_other_run(self) -> None:
        """See that `--resume` will not take another run's checkpoints for those of this one.

        Raises:
            UsageError: a run from the beginning would be written over another.
        """
        saved = list_checkpoints(self.folder)
        if saved and not self.epoch:
            raise UsageError(
                f"{self.folder}: holds a run already, up to {saved[-1].path.name}; --resume goes on with it, and for "
                "another one give another --tag or --out, or move the folder away"
            )
        if self.ranks.first and (count := set_aside(self.folder, self.epoch)):
            self.log.say(f"set aside: checkpoints after epoch {self.epoch}, {count} of them, are .pt.old now")

    def _restore(self, content: dict[str, Any]) -> None:
        self.epoch, self.step, self._best = content["epoch"], content["step"], content["best"]
        self._load_states(content)
        self.meter.load_state_dict(content["meter"])
        if content["loader"] is not None:
            self.task.loader.load_state_dict(content["loader"])

    def _load_states(self, content: dict[str, Any], *, weights: bool = True) -> None:
        try:
            self.stepper.load_state_dict(content, weights=weights)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UsageError(
                f"{self.folder}: the checkpoint is of a run with another model or other parameter groups; give the "
                f"options of {self.folder / 'settings.json'} ({str(error).splitlines()[0]})"
            ) from error

    def _begin_stage(self) -> None:
        """Take the schedule of the epoch that comes: that of the run, or of its stage."""
        self._stage_begin, end = find_stage(self.settings, self._begin, self.epoch)
        self._course = create_course(
            self.settings,
            self.stepper.rate,
            epochs=end - self._stage_begin,
            steps_per_epoch=self._updates_per_epoch,
        )

    def _time(self) -> int:
        """Return the time that the schedule counts: epochs, or steps of the optimiser."""
        epochs = self.epoch - self._stage_begin
        if self.settings.lr_scheduler_update == "epoch":
            return epochs
        return epochs * self._updates_per_epoch + self.step // self.settings.grad_accum_steps

    def _set_rates(self) -> None:
        set_rates(self.stepper.optimiser, self._course.factor(self._time()))

    def _warming(self) -> bool:
        return self._time() < self._course.warmup

    def _highest_rate(self) -> float:
        return max(float(group["lr"]) for group in self.stepper.optimiser.param_groups)
