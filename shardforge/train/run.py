"""A run of either trainer: its processes, its folder, and what it says before it starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from shardforge.endings import EXPECTED, end_at_next_interrupt, explain_error
from shardforge.files import atomic_write
from shardforge.train.data.augment import RGB_STATISTICS
from shardforge.train.distributed import Ranks, join_ranks
from shardforge.train.explain import explained_errors
from shardforge.train.lock import lock_run
from shardforge.train.log import RunLog
from shardforge.train.loop import Trainer
from shardforge.train.recipe.checks import check_settings
from shardforge.train.recipe.options import dump_settings
from shardforge.train.recipe.settings import Settings, count_step_images, expand_home, scale_rate
from shardforge.train.recipe.smoke import shrink_settings
from shardforge.train.task import Task

Some = TypeVar("Some", bound=Settings)


def run_training(settings: Some, create_task: Callable[[Some, Ranks, RunLog], Task]) -> None:
    """Train the task that `create_task` makes.

    Raises:
        ShardforgeError: the options, the data or the weights cannot be used, or training cannot go on.
    """
    check_settings(settings)
    if settings.smoke:
        settings = shrink_settings(settings)
    folder = Path(expand_home(settings.out)) / settings.run_name
    with join_ranks(settings.device) as ranks, open_log(folder, ranks) as log:
        torch.manual_seed(settings.seed)
        task = create_task(settings, ranks, log)
        task.model.to(ranks.device)
        for line in describe_surprises(settings, ranks):
            log.say(line)
        samples, batch = len(task.loader.dataset), count_step_images(settings, ranks.world)
        if batch > samples:
            log.say(f"a step of {batch:,} images is more than the {samples:,} there are: some come in it several times")
        with lock_run(folder, log.say) if ranks.first else nullcontext():
            trainer = Trainer(task, settings, ranks, folder, log)
            if ranks.first:
                with atomic_write(folder / "settings.json") as file:
                    file.write(dump_settings(settings).encode())
            _train(trainer)
        task.loader.close()
        log.say(f"finished: {folder}")


def _train(trainer: Trainer) -> None:
    try:
        trainer.run()
    except KeyboardInterrupt as error:
        end_at_next_interrupt()
        raise KeyboardInterrupt(str(error) or "what is saved is kept; go on with --resume.") from error


def describe_surprises(settings: Settings, ranks: Ranks) -> list[str]:
    """Return a line for each value that is not what its option seems to say."""
    decays = (settings.norm_wd, settings.bias_weight_decay, settings.transformer_embedding_decay)
    norms, biases, embeddings = (settings.wd if decay is None else decay for decay in decays)
    batch = count_step_images(settings, ranks.world)
    rate, mean = scale_rate(settings, ranks.world), RGB_STATISTICS[settings.rgb_mode]
    reference = settings.reference_batch
    origin = "absolute" if reference is None else f"--lr {settings.lr:g} for a batch of {reference}"
    lines = [
        f"device {ranks.device}, {ranks.world} {'process' if ranks.world == 1 else 'processes'}, batch {batch} a step",
        f"{settings.opt}, lr {rate:g} ({origin}), {settings.lr_scheduler} by {settings.lr_scheduler_update}",
        f"colours: mean {mean[0]}, deviation {mean[1]} (--rgb-mode {settings.rgb_mode})",
        f"weight decay {settings.wd:g}; norms {norms:g}, biases {biases:g}, embeddings {embeddings:g}",
    ]
    if settings.lr_scheduler == "cosine":
        scaled = ", times the layer's scale as the rate itself" if settings.layer_decay else ""
        lines.append(f"cosine ends at {settings.lr_cosine_min:g}{scaled}")
    if settings.amp and settings.amp_dtype == "float16" and ranks.device.type == "cpu":
        lines.append("--amp computes in bfloat16: float16 is for GPUs")
    if settings.ra_sampler:
        lines.append(
            f"repeated augmentation: an epoch shows 1/{settings.ra_reps} of the images, each {settings.ra_reps} times; "
            "the next epoch goes on with the rest"
        )
    return lines


@contextmanager
def open_log(folder: Path, ranks: Ranks) -> Iterator[RunLog]:
    """Open the log of a run; an error ends this rank's process where others would wait for it."""
    log = RunLog(folder, writes=ranks.first)
    try:
        with explained_errors():
            yield log
    except EXPECTED as error:
        if ranks.world > 1:  # the others would wait for this rank: end now, and let torchrun end them
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's own, where this rank is one of the others
            status, line = explain_error(error)
            log.say(line) if ranks.first else print(f"Rank {ranks.rank}: {line}", flush=True)
            log.close()
            os._exit(status)
        raise
    finally:
        log.close()
