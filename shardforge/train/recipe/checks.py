"""Which options of the trainers contradict each other."""

from __future__ import annotations

from pathlib import Path

from shardforge.errors import UsageError
from shardforge.train.recipe.settings import FinetuneSettings, Settings


def check_settings(settings: Settings) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: some do.
    """
    _check_data(settings)
    _check_start(settings)
    _check_rate(settings)
    if isinstance(settings, FinetuneSettings) and settings.probe_norm and not settings.freeze_body:
        raise UsageError("--probe-norm is part of a linear probe: add --freeze-body")


def _check_data(settings: Settings) -> None:
    if settings.aug_level > 10:
        raise UsageError(f"--aug-level {settings.aug_level}: give 0 to 10")
    if settings.resize_min_scale is not None and not 0 < settings.resize_min_scale <= 1:
        raise UsageError(f"--resize-min-scale {settings.resize_min_scale}: is a share of the area; above 0, at most 1")
    if settings.ra_sampler and settings.batch_size % settings.ra_reps:
        raise UsageError(
            f"--batch-size {settings.batch_size}: is no multiple of --ra-reps {settings.ra_reps}; make it one"
        )
    _check_sampling(settings)


def _check_sampling(settings: Settings) -> None:
    """Refuse two options that both say how often an image comes."""
    places = len(settings.wds_info or settings.data_path)
    for name, numbers, allowed in (
        ("--repeat", len(settings.repeat), {0, 1, places}),
        ("--data-weights", len(settings.data_weights), {0, places}),
    ):
        if numbers not in allowed:
            raise UsageError(f"{name}: {numbers} numbers for {places} places of data; give one for each of them")
    given = {
        "--class-balanced": settings.class_balanced,
        "--oversample-thr": settings.oversample_thr is not None,
        "--data-weights": bool(settings.data_weights),
        "--repeat, with a number for each of --data-path,": len(settings.repeat) > 1,
    }
    asked = [name for name, is_given in given.items() if is_given]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]} and {asked[1]} both say how often an image is shown: give one of them")


def _check_start(settings: Settings) -> None:
    if settings.init_from == "":
        raise UsageError("--init-from: names no file; give one, or leave the option out to start from fresh weights")
    if not settings.out:
        raise UsageError("--out: names no folder; give one, or . for the current one")
    if settings.resume and settings.resume_epoch:
        raise UsageError("--resume goes on from the latest checkpoint, --resume-epoch from that of an epoch: give one")
    if settings.init_from and (settings.resume_epoch or settings.load_states or settings.load_scheduler):
        raise UsageError("--init-from starts a new run from weights: leave out the options that continue one")
    if (settings.load_states or settings.load_scheduler) and settings.resume_epoch is None:
        raise UsageError("--load-states and --load-scheduler say what --resume-epoch loads: give it, or --resume")
    if settings.tag and Path(settings.tag).name != settings.tag:
        raise UsageError(
            f"--tag {settings.tag}: is part of the names of files; give it without / (--out is the folder)"
        )
    begin = settings.resume_epoch or 0
    if begin >= settings.epochs:
        raise UsageError(f"--resume-epoch {begin} of --epochs {settings.epochs}: nothing is left; give more epochs")


def _check_rate(settings: Settings) -> None:
    if settings.warmup_epochs >= settings.epochs:
        raise UsageError(f"--warmup-epochs {settings.warmup_epochs}: fills all {settings.epochs} epochs; give fewer")
    if settings.opt_betas and len(settings.opt_betas) != 2:
        raise UsageError(f"--opt-betas: takes two numbers, found {len(settings.opt_betas)}")
    if any(beta >= 1 for beta in settings.opt_betas):
        raise UsageError(f"--opt-betas {' '.join(map(str, settings.opt_betas))}: are shares; give numbers below 1")
    if settings.nesterov and not settings.momentum:
        raise UsageError("--nesterov is a kind of momentum: give --momentum above 0, or leave it out")
    if settings.auto_scale_lr and (settings.lr_scale is not None or settings.lr_scale_type != "linear"):
        raise UsageError("--auto-scale-lr scales linearly from --base-batch-size; leave out --lr-scale and its type")
    if settings.base_batch_size is not None and not settings.auto_scale_lr:
        raise UsageError("--base-batch-size says what --auto-scale-lr starts from: add that, or give --lr-scale")
