"""Which weights a fine-tuning run starts from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from shardforge.errors import UsageError
from shardforge.train.recipe.settings import FinetuneSettings, expand_home
from shardforge.train.weights import Weights, read_about, read_weights


def find_weights(settings: FinetuneSettings) -> Weights | None:
    """Return the weights that `--init-from` or `--resume-epoch` name, None for a start from scratch.

    Raises:
        UsageError: they name none.
    """
    if settings.init_from:
        return read_weights(Path(expand_home(settings.init_from)))
    if settings.resume_epoch is None:
        return None
    out = Path(expand_home(settings.out))
    files = [*out.glob("*.safetensors"), *out.glob("*/*.safetensors")]
    named = f"{settings.export_name}_{settings.resume_epoch}"
    # Pre-training names its weights alike, but an epoch to go on from is one of this trainer.
    found = _newest(files, re.escape(named), task="finetune" if settings.resume_epoch else None)
    if found is None and settings.resume_epoch == 0:
        found = _find_earlier(settings, files)
    if found is None:
        others = f", and no weights of an earlier training of {settings.network}" if not settings.resume_epoch else ""
        raise UsageError(
            f"--resume-epoch {settings.resume_epoch}: no {named}.safetensors in {out} or a folder of it{others}; check "
            "--out and --tag, pre-train first, or name the weights with --init-from"
        )
    return read_weights(found)


def _find_earlier(settings: FinetuneSettings, files: list[Path]) -> Path | None:
    """Return what this run is to start from where nobody has named it `_0`.

    For the tag `mim-intermediate` that is the newest outcome of fine-tuning as `mim`, which recipes call intermediate
    training; for all others, and where there is none, the newest weights of pre-training.
    """
    network, first = re.escape(settings.network), (settings.tag or "").partition("-")[0]
    if first != settings.tag and (tuned := _newest(files, rf"{network}_{re.escape(first)}_\d+", task="finetune")):
        return tuned
    return _newest(files, rf"{network}_mim.*_\d+", task="mim")


def _newest(files: Iterable[Path], pattern: str, task: str | None = None) -> Path | None:
    """Return the newest file of this name, and of this task if one is given."""
    named = [path for path in files if re.fullmatch(pattern, path.stem)]
    found = [path for path in named if task is None or read_about(path).get("task") == task]
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)
